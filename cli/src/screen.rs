//! Where a command shows things: data on one stream, talk on the other.

use crate::failure::{Failure, Outcome};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use isobar_api::{ApiError, ErrorCode};
use serde::Serialize;
use std::{fmt::Write as _, io::Write};

/// The two streams and how to use them.
pub struct Screen<'a> {
    /// Data.
    pub out: &'a mut dyn Write,
    /// Talk: notes, errors, progress.
    pub err: &'a mut dyn Write,
    /// One JSON document instead of text.
    pub json: bool,
    /// Colours, on stderr only.
    pub colour: bool,
    /// Progress bars: stderr is a terminal.
    pub terminal: bool,
    /// Stdout is a terminal, so that a prompt follows what is shown.
    pub prompt_follows: bool,
    /// The time, for ages.
    pub now_unix_ms: u64,
}

impl Screen<'_> {
    /// Shows a value: as one JSON document, or as the text made of it.
    pub fn show<T: Serialize>(&mut self, value: &T, text: impl FnOnce(&T) -> String) -> Outcome {
        if self.json {
            let document = serde_json::to_string_pretty(value).map_err(|error| {
                ApiError::new(ErrorCode::Internal, format!("making JSON: {error}"))
            })?;
            writeln!(self.out, "{document}")?;
        } else {
            let text = text(value);
            write!(self.out, "{text}")?;
            if !text.is_empty() && !text.ends_with('\n') {
                writeln!(self.out)?;
            }
        }
        Ok(crate::failure::DONE)
    }

    /// Raw bytes to stdout.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.out.write_all(bytes)?)
    }

    /// A remark on stderr.
    pub fn say(&mut self, text: &str) {
        // Nobody can be told that stderr is gone.
        let _ = writeln!(self.err, "{text}");
    }

    /// An error and what to do next, on stderr.
    pub fn fail(&mut self, error: &ApiError) {
        let (red, bold, off) =
            if self.colour { ("\x1b[31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        let text = format!(
            "{red}error{off} {bold}{}{off}: {}\n  next: {}",
            error.code,
            error.message,
            error.code.next_step()
        );
        self.say(&text);
    }

    /// A progress bar on stderr; invisible where stderr is no terminal.
    pub fn progress(&self, length: u64, template: &str) -> ProgressBar {
        let bar = ProgressBar::new(length);
        let shown = self.terminal && !self.json;
        bar.set_draw_target(if shown {
            ProgressDrawTarget::stderr_with_hz(8)
        } else {
            ProgressDrawTarget::hidden()
        });
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("█▌ "));
        }
        bar
    }
}

/// A table without borders; `right` names the columns of numbers.
pub fn table<const N: usize>(
    header: [&str; N],
    right: &[usize],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.map(str::to_uppercase));
    table.add_rows(rows);
    for index in 0..N {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if right.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_no_borders_and_align_numbers() {
        let rows = [["a".to_owned(), "5".to_owned()], ["bcd".to_owned(), "123".to_owned()]];
        assert_eq!(table(["name", "n"], &[1], rows), "NAME    N\na       5\nbcd   123\n");
    }

    #[test]
    fn errors_have_code_message_and_next_step() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut screen = Screen {
            out: &mut out,
            err: &mut err,
            json: false,
            colour: false,
            terminal: false,
            prompt_follows: false,
            now_unix_ms: 0,
        };
        screen.fail(&ApiError::new(ErrorCode::Unavailable, "s1 has no leader"));
        assert_eq!(
            String::from_utf8(err).expect("text"),
            "error ISO-2004: s1 has no leader\n  next: retry with backoff; if it lasts, \
             `isobar shard list` shows replicas that are down\n"
        );
        assert!(out.is_empty());
    }
}
