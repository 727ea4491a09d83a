//! What is said while it runs: lines, and on a terminal one line that changes in place. All on stderr.

use crate::screen::Screen;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

/// Says things with the seconds since the start in front.
pub(super) struct Talk<'s, 'a> {
    screen: &'s mut Screen<'a>,
    bar: ProgressBar,
    began: Instant,
}

impl<'s, 'a> Talk<'s, 'a> {
    pub(super) fn new(screen: &'s mut Screen<'a>, began: Instant) -> Self {
        let bar = ProgressBar::new_spinner();
        let live = screen.terminal && !screen.json;
        bar.set_draw_target(if live {
            ProgressDrawTarget::stderr_with_hz(8)
        } else {
            ProgressDrawTarget::hidden()
        });
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        Self { screen, bar, began }
    }

    /// A line that stays.
    pub(super) fn line(&mut self, text: &str) {
        let line = format!("[{:>4.0} s] {text}", self.began.elapsed().as_secs_f64());
        let screen = &mut *self.screen;
        self.bar.suspend(|| screen.say(&line));
    }

    /// The line that changes; nothing without a terminal.
    pub(super) fn live(&mut self, text: String) {
        self.bar.set_message(text);
        self.bar.tick();
    }

    /// Removes the line that changes and gives the screen back.
    pub(super) fn end(self) -> &'s mut Screen<'a> {
        self.bar.finish_and_clear();
        self.screen
    }
}
