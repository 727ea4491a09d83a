//! A trace as a stream of accesses.

use crate::error::{Error, Result};
use crate::source::Lines;
use crate::trace::Access;
use crate::trace::format::{Parser, Run};
use std::path::Path;

/// Reads a trace of any size, access by access. After an error it ends. Negative keys come as two's complement:
/// only [`read_trace`](crate::read_trace), which has all of them, can shift them.
pub struct TraceReader {
    lines: Lines,
    parser: Parser,
    /// What is left of a line that stands for several accesses.
    run: Option<Run>,
    ended: bool,
}

impl TraceReader {
    /// Opens a file and recognises its format.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(Lines::open(path)?)
    }

    pub(crate) fn new(mut lines: Lines) -> Result<Self> {
        let (mut parser, is_header, first) = loop {
            match lines.next_line()? {
                None => return Err(Error::file(lines.file(), "is empty")),
                Some(line) if line.trim().is_empty() => {}
                Some(line) => {
                    let first = line.to_owned();
                    let (parser, is_header) =
                        Parser::detect(&first).map_err(|what| lines.bad(what))?;
                    break (parser, is_header, first);
                }
            }
        };
        let run = match is_header {
            true => None,
            false => Some(parser.parse(&first).map_err(|what| lines.bad(what))?),
        };
        Ok(Self { lines, parser, run, ended: false })
    }

    /// The file's name without folder and endings.
    pub fn name(&self) -> String {
        self.lines.name()
    }

    pub(super) fn has_negative_keys(&self) -> bool {
        self.parser.has_negative_keys
    }

    /// The next line as the one request it records, however many keys that covers.
    pub(super) fn next_run(&mut self) -> Result<Option<Run>> {
        if let Some(run) = self.run.take() {
            return Ok(Some(run));
        }
        loop {
            let parsed = match self.lines.next_line()? {
                None => return Ok(None),
                Some(line) if line.trim().is_empty() => continue,
                Some(line) => self.parser.parse(line),
            };
            return parsed.map(Some).map_err(|what| self.lines.bad(what));
        }
    }

    fn next_access(&mut self) -> Result<Option<Access>> {
        loop {
            if let Some(run) = &mut self.run {
                let Run { at_ms, op, key, size_bytes, .. } = *run;
                run.count -= 1;
                run.key = run.key.wrapping_add(1);
                if run.count == 0 {
                    self.run = None;
                }
                return Ok(Some(Access { at_ms, op, key, size_bytes }));
            }
            match self.next_run()? {
                None => return Ok(None),
                run => self.run = run,
            }
        }
    }
}

impl Iterator for TraceReader {
    type Item = Result<Access>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_access().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Op, Trace, collect};
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Trace> {
        let bytes = text.as_bytes().to_vec().leak();
        collect(TraceReader::new(Lines::of_bytes("dir/some.keys.txt", bytes)?)?, 1000)
    }

    fn keys(text: &str) -> Vec<u64> {
        read(text).expect("legal").accesses.iter().map(|a| a.key).collect()
    }

    #[test]
    fn integers_negative_ones_shifted() {
        assert_eq!(read("5\n3\n").expect("legal").name, "some");
        assert_eq!(keys("5\n3\n5\n"), [5, 3, 5]);
        assert_eq!(keys("\n-10\n3\n-7\n"), [0, 13, 3]);
        // Hashes use all 64 bits; they are no negative numbers.
        assert_eq!(keys("18446744073709551615\n7\n"), [u64::MAX, 7]);
    }

    #[test]
    fn arc_lines_are_runs() {
        assert_eq!(keys("7 3 0 0\n100 1 0 1\n"), [7, 8, 9, 100]);
        assert!(read("7 0 0 0\n").is_err());
        assert!(read("7 99999999999 0 0\n").is_err());
    }

    #[test]
    fn block_csv_has_time_and_op_in_any_column_order() {
        let trace = read("op,version,time,lbn,size\n28,1,500,9,4096\n2a,1,501.5,10,512\n");
        let trace = trace.expect("legal");
        let expected = [
            Access { at_ms: Some(0), op: Op::Read, key: 9, size_bytes: Some(4096) },
            Access { at_ms: Some(1500), op: Op::Write, key: 10, size_bytes: Some(512) },
        ];
        assert_eq!(trace.accesses, expected);
    }

    #[test]
    fn own_format_accumulates_time() {
        let trace = read("isobar-trace 1 size=8192\n0 r 5\n3 w 6\n2 r 5\n").expect("legal");
        let times: Vec<_> = trace.accesses.iter().filter_map(|a| a.at_ms).collect();
        assert_eq!(times, [0, 3, 5]);
        assert_eq!(trace.accesses[1].op, Op::Write);
        assert!(read("isobar-trace 2\n").is_err());
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line) in [
            ("1\n2\nx\n", 3),
            ("1 1 0 0\n1 1 0\n", 2),
            ("version,time,op,size,lbn\n1,2,28,512,3\n1,2,99,512,3\n", 3),
            ("isobar-trace 1\n0 q 1\n", 2),
            ("hello world\n", 1),
            ("a,b,c\n", 1),
        ] {
            let found = read(text);
            assert!(matches!(&found, Err(Error::Line { line: l, .. }) if *l == line), "{found:?}");
        }
        assert!(matches!(read(""), Err(Error::File { .. })));
    }

    #[test]
    fn after_an_error_it_ends() {
        let lines = Lines::of_bytes("t", b"1\nx\n2\n").expect("bytes");
        let all: Vec<_> = TraceReader::new(lines).expect("keys").collect();
        assert_eq!(all.len(), 2);
        assert!(all[1].is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|\n|[0-9 ]){0,200}") {
            let _ = read(&text);
        }
    }
}
