//! What a detector looks at.

/// One view of the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// Far from the usual value of this hour of the day, measured by the spread of that hour, on a logarithmic scale.
    HourSpread,
    /// Far from the usual value of this hour of the day, in the unit of the signal.
    HourLevel,
    /// Far from the usual value of this hour of the day, as a ratio.
    HourRatio,
    /// The last points lie together above or below the last thousand.
    LevelShift,
    /// The point lies far from those just before it.
    Step,
    /// The signal has not changed for long.
    FlatLine,
    /// Nothing came for long, or nothing that is a number.
    Missing,
}

impl Evidence {
    /// All of them, in the order of [`Verdict::tails`](super::Verdict::tails).
    pub const ALL: [Self; 7] = [
        Self::HourSpread,
        Self::HourLevel,
        Self::HourRatio,
        Self::LevelShift,
        Self::Step,
        Self::FlatLine,
        Self::Missing,
    ];

    /// A few words for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::HourSpread => "unusual for this hour, by the spread of the hour",
            Self::HourLevel => "unusual for this hour",
            Self::HourRatio => "unusual for this hour, as a ratio",
            Self::LevelShift => "the level has shifted",
            Self::Step => "a sudden step",
            Self::FlatLine => "the signal does not change",
            Self::Missing => "data are missing",
        }
    }
}
