//! How far long work is.

/// Told by a task as it goes; the caller shows it.
pub trait Progress {
    /// `done` of `total` parts are finished; `what` is being worked on.
    fn step(&mut self, done: u64, total: u64, what: &str);
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _done: u64, _total: u64, _what: &str) {}
}
