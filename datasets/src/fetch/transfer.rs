//! One attempt to get the rest of a file.

use crate::catalog::RemoteFile;
use crate::error::Error;
use crate::fetch::{FetchOptions, Progress, failed};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;
use ureq::{Agent, Body, http};

const CHUNK_BYTES: usize = 64 * 1024;

/// Why an attempt ended early.
pub(super) struct Broken {
    pub(super) error: Error,
    /// Whether trying again may help.
    pub(super) is_temporary: bool,
}

impl Broken {
    fn for_good(error: Error) -> Self {
        Self { error, is_temporary: false }
    }

    fn for_now(error: Error) -> Self {
        Self { error, is_temporary: true }
    }
}

pub(super) struct Transfer<'a> {
    file: &'a RemoteFile,
    agent: Agent,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(file: &'a RemoteFile, options: &FetchOptions) -> Self {
        let silence = Some(Duration::from_millis(options.silence_ms));
        let config = Agent::config_builder()
            .timeout_connect(silence)
            .timeout_recv_response(silence)
            .timeout_per_read(silence)
            // The answers to a range request are told apart here.
            .http_status_as_error(false)
            .build();
        Self { file, agent: config.new_agent() }
    }

    /// Brings the part file to its full size, or says why not. What has arrived stays in it.
    pub(super) fn run(
        &self,
        part: &mut File,
        path: &Path,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Broken> {
        let disk = |e| Broken::for_good(Error::io(path, e));
        let size = self.file.size_bytes;
        let mut have = part.metadata().map_err(disk)?.len();
        if have > size {
            part.set_len(0).map_err(disk)?;
            have = 0;
        }
        if have == size {
            return Ok(());
        }
        let answer = self.ask(have)?;
        let start = self.start_of(&answer, have)?;
        if start != have {
            part.set_len(start).map_err(disk)?;
        }
        part.seek(SeekFrom::Start(start)).map_err(disk)?;
        self.receive(answer, part, path, start, progress)
    }

    fn ask(&self, have: u64) -> Result<http::Response<Body>, Broken> {
        // A compressed answer would make ranges and sizes mean something else.
        let mut request = self.agent.get(&self.file.url).header("Accept-Encoding", "identity");
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        request.call().map_err(|error| {
            let is_temporary =
                !matches!(error, ureq::Error::BadUri(_) | ureq::Error::TooManyRedirects);
            Broken { error: self.client_error(error), is_temporary }
        })
    }

    /// At which byte the body starts.
    fn start_of(&self, answer: &http::Response<Body>, have: u64) -> Result<u64, Broken> {
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        match answer.status().as_u16() {
            // The server does not know ranges, or nothing was asked of it: from the start.
            200 => {
                let length = header("content-length").and_then(|text| text.parse().ok());
                self.check_length(length)?;
                Ok(0)
            }
            206 => {
                let range = header("content-range").unwrap_or_default();
                let (start, total) = content_range(range).ok_or_else(|| {
                    Broken::for_good(failed(
                        self.file,
                        format!("bad range `{range}` in the answer"),
                    ))
                })?;
                if start != have {
                    let what = format!("asked for bytes from {have}, got them from {start}");
                    return Err(Broken::for_good(failed(self.file, what)));
                }
                self.check_length(total)?;
                Ok(have)
            }
            status => {
                let error = failed(self.file, format!("the server answers {status}"));
                let is_temporary = status == 429 || status >= 500;
                Err(Broken { error, is_temporary })
            }
        }
    }

    fn check_length(&self, announced: Option<u64>) -> Result<(), Broken> {
        let wanted = self.file.size_bytes;
        match announced {
            Some(found) if found != wanted => {
                let what = format!("the server has {found} bytes, the catalog says {wanted}");
                Err(Broken::for_good(failed(self.file, what)))
            }
            _ => Ok(()),
        }
    }

    fn receive(
        &self,
        answer: http::Response<Body>,
        part: &mut File,
        path: &Path,
        start: u64,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Broken> {
        let disk = |e| Broken::for_good(Error::io(path, e));
        let size_bytes = self.file.size_bytes;
        let mut done_bytes = start;
        // One byte more than wanted is enough to see that there is too much.
        let most = size_bytes - start + 1;
        let mut body = answer.into_body().into_with_config().limit(most + 1).reader().take(most);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = match body.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(Broken::for_now(self.client_error(error.into()))),
            };
            done_bytes += count as u64;
            if done_bytes > size_bytes {
                // What arrived cannot be a part of the pinned file.
                part.set_len(0).map_err(disk)?;
                let what = format!("the server sends more than {size_bytes} bytes");
                return Err(Broken::for_good(failed(self.file, what)));
            }
            part.write_all(&chunk[..count]).map_err(disk)?;
            progress(Progress { path: &self.file.path, done_bytes, size_bytes });
        }
        if done_bytes < size_bytes {
            let what = format!("the connection ended at {done_bytes} of {size_bytes} bytes");
            return Err(Broken::for_now(failed(self.file, what)));
        }
        Ok(())
    }

    fn client_error(&self, error: ureq::Error) -> Error {
        let (url, what) = (self.file.url.clone(), error.to_string());
        Error::FetchFailed { url, what, source: Some(Box::new(error)) }
    }
}

/// `bytes 100-199/200` → where it starts, and the whole size if it is told.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.parse().ok()?;
    match total {
        "*" => Some((start, None)),
        total => Some((start, Some(total.parse().ok()?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 100-199/200"), Some((100, Some(200))));
        assert_eq!(content_range("bytes 0-9/*"), Some((0, None)));
        for bad in ["", "bytes", "bytes */200", "items 1-2/3", "bytes 1-2/x"] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
