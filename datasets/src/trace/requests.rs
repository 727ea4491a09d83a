//! A trace as requests: each line one, however many consecutive keys it covers.

use crate::error::{Error, Result};
use crate::trace::TraceReader;
use std::path::Path;

/// One request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRequest {
    /// The first key. If a source has negative ones, all are shifted so that the smallest loaded is 0.
    pub key: u64,
    /// How many consecutive keys it covers, at least 1: pages of an ARC line, sectors of 512 bytes of a block request.
    pub span: u64,
    /// Bytes asked for, where the trace says.
    pub size_bytes: Option<u32>,
}

/// A trace of requests in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// The file's name without folder and endings.
    pub name: String,
    /// In order.
    pub requests: Vec<KeyRequest>,
}

/// Reads a trace as requests; more than `max_requests` of them are an error. Format and compression are recognised from
/// the content.
pub fn read_requests(path: &Path, max_requests: usize) -> Result<Requests> {
    collect(TraceReader::open(path)?, max_requests)
}

fn collect(mut reader: TraceReader, max_requests: usize) -> Result<Requests> {
    let mut requests = Vec::new();
    while let Some(run) = reader.next_run()? {
        if requests.len() == max_requests {
            let what = format!("more than {max_requests} requests");
            return Err(Error::file(&reader.name(), what));
        }
        requests.push(KeyRequest { key: run.key, span: run.span, size_bytes: run.size_bytes });
    }
    if reader.has_negative_keys() {
        let smallest = requests.iter().map(|r| r.key as i64).min().unwrap_or(0);
        for request in &mut requests {
            request.key = request.key.wrapping_sub(smallest as u64);
        }
    }
    Ok(Requests { name: reader.name(), requests })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Lines;

    fn read(text: &'static str) -> Result<Vec<(u64, u64)>> {
        let reader = TraceReader::new(Lines::of_bytes("some.lis", text.as_bytes())?)?;
        let requests = collect(reader, 3)?.requests;
        Ok(requests.iter().map(|r| (r.key, r.span)).collect())
    }

    #[test]
    fn a_line_is_one_request() {
        assert_eq!(read("7 3 0 0\n\n100 1 0 1\n").expect("legal"), [(7, 3), (100, 1)]);
        assert_eq!(read("-4\n3\n").expect("legal"), [(0, 1), (7, 1)]);
        let blocks = read("version,time,op,size,lbn\n1,2,28,1025,3\n1,2,2a,0,9\n");
        assert_eq!(blocks.expect("legal"), [(3, 3), (9, 1)]);
    }

    #[test]
    fn too_many_are_an_error_and_so_is_a_bad_line() {
        assert!(matches!(read("1\n2\n3\n4\n"), Err(Error::File { .. })));
        assert!(matches!(read("1\n2\nx\n"), Err(Error::Line { line: 3, .. })));
    }
}
