//! Points at which a test may stop the process, so that recovery from each can be shown.

use crate::error::Error;
use isobar_api::directive::DirectiveState;

/// A moment in a directive's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    /// A change of state is about to be journaled.
    BeforeChange(DirectiveState, u32),
    /// It is durable.
    AfterChange(DirectiveState, u32),
    /// An order is about to be sent; the number is the step index.
    BeforeSend(u32),
    /// A node said that it accepted the step.
    AfterAccepted(u32),
    /// A node said that the step is done; the journal does not know yet.
    AfterDone(u32),
}

/// Decides whether the process stops at a point.
pub(crate) trait Probe: Send + Sync {
    /// `Err(Error::Stopped)` stops.
    fn at(&self, point: Point) -> Result<(), Error>;
}

/// Never stops.
pub(crate) struct NoProbe;

impl Probe for NoProbe {
    fn at(&self, _: Point) -> Result<(), Error> {
        Ok(())
    }
}
