//! Lines of a plain or zstandard file, with limits and with the position for error messages.

use crate::error::{Error, Result};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// No line of any supported format comes near this.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// Decompressed; the largest public trace we know of in these formats is under 1 GiB.
const MAX_FILE_BYTES: u64 = 8 << 30;
/// What a frame may ask of memory.
const MAX_WINDOW_BYTES: u64 = 128 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

type Input = Box<dyn BufRead + Send>;

/// Reads one line at a time.
pub(crate) struct Lines {
    file: String,
    input: Input,
    line: u64,
    read_bytes: u64,
    max_bytes: u64,
    max_line_bytes: u64,
    buffer: Vec<u8>,
}

impl Lines {
    /// Opens a file; compression is recognised by its first bytes.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let name = path.display().to_string();
        Self::new(&name, BufReader::with_capacity(64 * 1024, file))
    }

    /// The same for bytes that are embedded or made by a test.
    pub(crate) fn of_bytes(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::new(name, bytes)
    }

    fn new(name: &str, mut input: impl BufRead + Send + 'static) -> Result<Self> {
        let start = input.fill_buf().map_err(|e| Error::io(name, e))?;
        let input: Input = if start.starts_with(&ZSTD_MAGIC) {
            Box::new(BufReader::with_capacity(64 * 1024, ZstdFrames::new(input)))
        } else {
            Box::new(input)
        };
        let buffer = Vec::with_capacity(256);
        let max_bytes = MAX_FILE_BYTES;
        let max_line_bytes = MAX_LINE_BYTES;
        let file = name.into();
        Ok(Self { file, input, line: 0, read_bytes: 0, max_bytes, max_line_bytes, buffer })
    }

    /// For formats with a whole series on a line.
    pub(crate) fn with_max_line(mut self, max_line_bytes: u64) -> Self {
        self.max_line_bytes = max_line_bytes;
        self
    }

    /// The name for messages.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The file's name without folder and endings.
    pub(crate) fn name(&self) -> String {
        let last = Path::new(&self.file).file_name().unwrap_or_default().to_string_lossy();
        last.split('.').next().unwrap_or_default().to_owned()
    }

    /// The next line without its end; `None` at the end of the file.
    pub(crate) fn next_line(&mut self) -> Result<Option<&str>> {
        self.buffer.clear();
        let mut part = (&mut self.input).take(self.max_line_bytes + 1);
        let count = match part.read_until(b'\n', &mut self.buffer) {
            Ok(count) => count as u64,
            // Only the operating system's errors have a number; the others are the decompressor's.
            Err(error) if error.raw_os_error().is_some() => {
                return Err(Error::io(&self.file, error));
            }
            Err(error) => {
                let what = format!("the compressed data is damaged or cut off: {error}");
                return Err(Error::file(&self.file, what));
            }
        };
        if count == 0 {
            return Ok(None);
        }
        self.line += 1;
        self.read_bytes += count;
        if count > self.max_line_bytes {
            return Err(self.bad(format!("longer than {} bytes", self.max_line_bytes)));
        }
        if self.read_bytes > self.max_bytes {
            return Err(self.bad(format!("the file has more than {} bytes", self.max_bytes)));
        }
        while matches!(self.buffer.last(), Some(b'\n' | b'\r')) {
            self.buffer.pop();
        }
        match std::str::from_utf8(&self.buffer) {
            // Spreadsheets begin their files with a byte order mark.
            Ok(text) if self.line == 1 => Ok(Some(text.strip_prefix('\u{feff}').unwrap_or(text))),
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.bad("not UTF-8 text")),
        }
    }

    /// An error at the current line.
    pub(crate) fn bad(&self, what: impl Into<String>) -> Error {
        Error::line(&self.file, self.line, what)
    }
}

/// All frames of a zstandard file, one after the other, each with its checksum verified.
struct ZstdFrames<R: BufRead> {
    // Exactly one of the two is there, except after an error.
    between: Option<R>,
    inside: Option<StreamingDecoder<R, FrameDecoder>>,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(input: R) -> Self {
        Self { between: Some(input), inside: None }
    }

    fn start_frame(&mut self) -> io::Result<bool> {
        let Some(mut input) = self.between.take() else {
            return Ok(false);
        };
        if input.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let frame = StreamingDecoder::new_with_max_window_size(input, MAX_WINDOW_BYTES)
            .map_err(io::Error::other)?;
        self.inside = Some(frame);
        Ok(true)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        let Some(frame) = self.inside.take() else {
            return Ok(());
        };
        let (input, decoder) = frame.into_parts();
        let stored = decoder.get_checksum_from_data();
        if stored.is_some() && stored != decoder.get_calculated_checksum() {
            let what = "zstandard checksum differs: the file is damaged";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        self.between = Some(input);
        Ok(())
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(frame) = &mut self.inside else {
                if self.start_frame()? {
                    continue;
                }
                return Ok(0);
            };
            let count = frame.read(out)?;
            if count > 0 {
                return Ok(count);
            }
            self.end_frame()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn lines(bytes: Vec<u8>) -> Result<Vec<String>> {
        let mut lines = Lines::of_bytes("test", bytes.leak())?;
        let mut all = Vec::new();
        while let Some(line) = lines.next_line()? {
            all.push(line.to_owned());
        }
        Ok(all)
    }

    #[test]
    fn plain_and_compressed_read_alike_over_several_frames() {
        let mut packed = compress_to_vec(&b"one\ntw"[..], CompressionLevel::Fastest);
        packed.extend(compress_to_vec(&b"o\r\nthree"[..], CompressionLevel::Fastest));
        let expected = ["one", "two", "three"];
        assert_eq!(lines(packed).expect("two frames"), expected);
        assert_eq!(lines(b"one\ntwo\r\nthree".to_vec()).expect("plain"), expected);
        assert_eq!(lines(b"\xef\xbb\xbfone\ntwo\nthree".to_vec()).expect("marked"), expected);
    }

    #[test]
    fn damage_is_an_error_not_a_short_file() {
        let text: String = (0..5000).map(|i| format!("{}\n", i * 7919)).collect();
        let packed = compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
        let cut = packed[..packed.len() / 2].to_vec();
        assert!(matches!(lines(cut), Err(Error::File { .. })));
        let mut flipped = packed.clone();
        let last = flipped.len() - 1; // in the frame's checksum
        flipped[last] ^= 1;
        assert!(matches!(lines(flipped), Err(Error::File { .. })));
        assert_eq!(lines(packed).expect("whole").len(), 5000);
    }

    #[test]
    fn limits_hold() {
        let error = lines(vec![b'x'; MAX_LINE_BYTES as usize + 10]).expect_err("too long");
        assert!(error.to_string().contains("line 1: longer than"), "{error}");
        let mut small = Lines::of_bytes("test", b"12345\n67890\n").expect("bytes");
        small.max_bytes = 8;
        assert!(small.next_line().is_ok());
        assert!(matches!(small.next_line(), Err(Error::Line { line: 2, .. })));
        assert!(matches!(lines(vec![0xff, 0xfe, b'\n']), Err(Error::Line { line: 1, .. })));
    }
}
