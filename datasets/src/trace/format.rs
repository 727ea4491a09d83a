//! What a line of each trace format means.

use crate::csv;
use crate::trace::Op;
use std::str::FromStr;

/// An ARC line stands for at most this many pages.
const MAX_RUN: u64 = 1 << 24;

/// A trace format, recognised from the first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TraceFormat {
    /// Ours: `isobar-trace 1 size=8192`, then `milliseconds-since-previous r|w key`.
    Isobar,
    /// libCacheSim's CloudPhysics form: a header with time (s), op (SCSI code), size and lbn.
    BlockCsv,
    /// ARC `.lis`: `start count ignored sequence`: count consecutive pages from start.
    Arc,
    /// One integer per line.
    Keys,
}

/// A sector, the unit of logical block numbers, bytes.
const SECTOR_BYTES: u32 = 512;

/// One parsed line: `count` accesses of consecutive keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Run {
    pub(super) at_ms: Option<u64>,
    pub(super) op: Op,
    pub(super) key: u64,
    pub(super) count: u64,
    pub(super) size_bytes: Option<u32>,
    /// How many consecutive keys the line's one request covers.
    pub(super) span: u64,
}

/// Everything needed to parse the lines that follow.
#[derive(Clone, Debug)]
pub(super) struct Parser {
    format: TraceFormat,
    /// Whether a key was below 0: then keys are two's complement, else plain unsigned numbers.
    pub(super) has_negative_keys: bool,
    size_bytes: Option<u32>,
    columns: Columns,
    start_ms: Option<u64>,
    clock_ms: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Columns {
    time: usize,
    op: usize,
    size: usize,
    key: usize,
    count: usize,
}

type Parsed<T> = std::result::Result<T, String>;

impl Parser {
    /// Recognises the format. The flag says whether the line is a header, so holds no access.
    pub(super) fn detect(line: &str) -> Parsed<(Self, bool)> {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first() == Some(&"isobar-trace") {
            return Ok((Self::own(&words)?, true));
        }
        if line.contains(',') {
            return Ok((Self::block_csv(line)?, true));
        }
        let is_integer = |word: &&&str| word.parse::<i64>().is_ok() || word.parse::<u64>().is_ok();
        let integers = words.iter().filter(is_integer).count();
        let format = match (words.len(), integers) {
            (1, 1) => TraceFormat::Keys,
            (4, 4) => TraceFormat::Arc,
            _ => return Err(UNKNOWN.into()),
        };
        Ok((Self::of(format), false))
    }

    fn of(format: TraceFormat) -> Self {
        let columns = Columns::default();
        let has_negative_keys = false;
        Self { format, has_negative_keys, size_bytes: None, columns, start_ms: None, clock_ms: 0 }
    }

    fn own(words: &[&str]) -> Parsed<Self> {
        if words.get(1) != Some(&"1") {
            return Err("this version reads `isobar-trace 1` only".into());
        }
        let mut parser = Self::of(TraceFormat::Isobar);
        for word in &words[2..] {
            let size = word.strip_prefix("size=").ok_or(format!("unknown setting `{word}`"))?;
            parser.size_bytes = Some(number(size, "size")?);
        }
        Ok(parser)
    }

    fn block_csv(line: &str) -> Parsed<Self> {
        let fields = csv::split(line)?;
        let find = |name: &str| fields.iter().position(|f| f.trim() == name).ok_or(UNKNOWN);
        let mut parser = Self::of(TraceFormat::BlockCsv);
        parser.columns = Columns {
            time: find("time")?,
            op: find("op")?,
            size: find("size")?,
            key: find("lbn")?,
            count: fields.len(),
        };
        Ok(parser)
    }

    /// One line after detection.
    pub(super) fn parse(&mut self, line: &str) -> Parsed<Run> {
        match self.format {
            TraceFormat::Keys => {
                let key = match line.trim().parse::<i64>() {
                    Ok(key) => {
                        self.has_negative_keys |= key < 0;
                        key as u64
                    }
                    Err(_) => number(line.trim(), "key")?,
                };
                Ok(Run { at_ms: None, op: Op::Read, key, count: 1, size_bytes: None, span: 1 })
            }
            TraceFormat::Arc => arc(line),
            TraceFormat::Isobar => self.own_line(line),
            TraceFormat::BlockCsv => self.block_line(line),
        }
    }

    fn own_line(&mut self, line: &str) -> Parsed<Run> {
        let words: Vec<&str> = line.split(' ').collect();
        let [wait, op, key] = words[..] else {
            return Err("expected `milliseconds r|w key`".into());
        };
        let op = match op {
            "r" => Op::Read,
            "w" => Op::Write,
            _ => return Err(format!("`{op}` is neither r nor w")),
        };
        self.clock_ms = self.clock_ms.saturating_add(number(wait, "wait")?);
        let key = number(key, "key")?;
        let (at_ms, size_bytes) = (Some(self.clock_ms), self.size_bytes);
        Ok(Run { at_ms, op, key, count: 1, size_bytes, span: 1 })
    }

    fn block_line(&mut self, line: &str) -> Parsed<Run> {
        let fields = csv::split(line)?;
        let c = self.columns;
        if fields.len() != c.count {
            return Err(format!("{} fields where the header has {}", fields.len(), c.count));
        }
        let op = match fields[c.op].trim() {
            "08" | "28" | "88" | "a8" => Op::Read,
            "0a" | "2a" | "8a" | "aa" => Op::Write,
            other => return Err(format!("`{other}` is no SCSI read (28) or write (2a)")),
        };
        let at_ms = milliseconds(fields[c.time].trim())?;
        let start_ms = *self.start_ms.get_or_insert(at_ms);
        let size = number::<u32>(fields[c.size].trim(), "size")?;
        let key = number(fields[c.key].trim(), "lbn")?;
        // Requests that were logged late must not make time run backwards past the start.
        let at_ms = Some(at_ms.saturating_sub(start_ms));
        let span = u64::from(size.div_ceil(SECTOR_BYTES).max(1));
        Ok(Run { at_ms, op, key, count: 1, size_bytes: Some(size), span })
    }
}

const UNKNOWN: &str = "not a trace this version reads: one integer per line, `start count 0 seq`, \
     a CSV header with time, op, size and lbn, or `isobar-trace 1`";

fn arc(line: &str) -> Parsed<Run> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [start, count, _, _] = words[..] else {
        return Err("expected four numbers: start, count, 0, sequence".into());
    };
    let (key, count) = (number::<u64>(start, "start")?, number::<u64>(count, "count")?);
    if count == 0 || count > MAX_RUN || key.checked_add(count).is_none() {
        return Err(format!("a run of {count} pages from {key} is out of range"));
    }
    Ok(Run { at_ms: None, op: Op::Read, key, count, size_bytes: None, span: count })
}

fn milliseconds(text: &str) -> Parsed<u64> {
    if let Ok(seconds) = text.parse::<u64>() {
        return seconds.checked_mul(1000).ok_or(format!("time {text} is out of range"));
    }
    let seconds: f64 = number(text, "time")?;
    if !(0.0..1e15).contains(&seconds) {
        return Err(format!("time {text} is out of range"));
    }
    Ok((seconds * 1000.0).round() as u64)
}

fn number<T: FromStr>(text: &str, what: &str) -> Parsed<T> {
    text.parse().map_err(|_| format!("{what} `{text}` is not a number in range"))
}
