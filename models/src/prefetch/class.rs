//! Why a key is proposed, as one small number: forecasts of one class are equally credible, as far as one can tell
//! before the outcome, and share one measured precision.

/// Where a proposal comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The key after the request's end, or the next number.
    Sequential,
    /// The same step as from the request before.
    Stride,
    /// What followed this key last time.
    Successor1,
    /// What followed this key last time, when the key before was the same too.
    Successor2,
    /// What came soon after this key on earlier occasions.
    Association,
}

impl Source {
    /// All sources.
    pub const ALL: [Self; 5] =
        [Self::Sequential, Self::Stride, Self::Successor1, Self::Successor2, Self::Association];
}

/// Where in the past a recurring key was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recurrence {
    /// Requests after the earlier occurrence of the key, from 1.
    pub(super) distance: usize,
    /// How many of the 8 requests before are the same as before that occurrence.
    pub(super) overlap: usize,
    /// Whether the one just before is the same.
    pub(super) same_before: bool,
    /// Earlier occurrences looked at, 1 to 4, and in how many of them the proposed key followed.
    pub(super) occurrences: usize,
    pub(super) agreeing: usize,
    /// Found after the last occurrence, or only after the one before that.
    pub(super) last: bool,
    /// The proposed key was once prefetched and used.
    pub(super) proven: bool,
    /// The proposed key was not requested since.
    pub(super) untouched: bool,
}

/// A key a few steps further in a direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// By the request's length, by 1, or by the difference to the request before.
    pub(super) kind: StepKind,
    /// How many of the keys 1, 2 and 4 steps back were requested of late, 0 to 3.
    pub(super) evidence: usize,
    /// Steps ahead, 1 to 4.
    pub(super) ahead: usize,
    /// Whether the proposed key was requested before.
    pub(super) known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepKind {
    Length,
    One,
    Stride,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class(u16);

const RECURRENCES: u16 = 5 * 8 * 10 * 2 * 2 * 2;
const STEPS: u16 = 3 * 4 * 4 * 2;
/// Which cell of 4 occurrences and how many agree.
const AGREEMENT: [[u16; 4]; 4] = [[0, 0, 0, 0], [1, 2, 2, 2], [3, 4, 5, 5], [6, 7, 8, 9]];

impl Class {
    /// How many there are.
    pub const COUNT: usize = (RECURRENCES + STEPS) as usize;

    pub(super) fn of_recurrence(r: &Recurrence) -> Self {
        let distance = match r.distance {
            0..=1 => 0,
            2 => 1,
            3..=4 => 2,
            5..=8 => 3,
            _ => 4,
        };
        let overlap = match r.overlap {
            0 => 0,
            1 => 1,
            2..=3 => 2,
            _ => 3,
        };
        let context = overlap + 4 * u16::from(r.same_before);
        let agreement = AGREEMENT[r.occurrences.clamp(1, 4) - 1][r.agreeing.clamp(1, 4) - 1];
        let mut class = (distance * 8 + context) * 10 + agreement;
        for bit in [!r.last, r.proven, r.untouched] {
            class = class * 2 + u16::from(bit);
        }
        Self(class)
    }

    pub(super) fn of_step(step: &Step) -> Self {
        let kind = step.kind as u16;
        let (evidence, ahead) = (step.evidence.min(3) as u16, step.ahead.clamp(1, 4) as u16 - 1);
        Self(RECURRENCES + ((kind * 4 + evidence) * 4 + ahead) * 2 + u16::from(step.known))
    }

    /// Its number, below [`Class::COUNT`].
    pub fn number(self) -> usize {
        self.0 as usize
    }

    pub(super) fn tag(self) -> u16 {
        self.0
    }

    pub(super) fn from_tag(tag: u16) -> Self {
        Self(tag)
    }

    /// The source its proposals come from.
    pub fn source(self) -> Source {
        if self.0 >= RECURRENCES {
            let stride = (self.0 - RECURRENCES) / (4 * 4 * 2) == StepKind::Stride as u16;
            return if stride { Source::Stride } else { Source::Sequential };
        }
        let (rest, older) = (self.0 / 8, self.0 / 4 % 2 == 1);
        let (distance, context) = (rest / 80, rest / 10 % 8);
        match (distance, older) {
            (0, false) if context >= 4 => Source::Successor2,
            (0, false) => Source::Successor1,
            _ => Source::Association,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_class_has_its_own_number_below_the_count() {
        let mut seen = BTreeSet::new();
        for distance in [1, 2, 3, 5, 9] {
            for (overlap, same_before) in [0, 1, 2, 4].map(|o| [(o, false), (o, true)]).concat() {
                for occurrences in 1..=4 {
                    for agreeing in 1..=occurrences {
                        for bits in 0..8 {
                            let (last, proven) = (bits & 1 == 0, bits & 2 == 0);
                            let untouched = bits & 4 == 0;
                            let class = Class::of_recurrence(&Recurrence {
                                distance,
                                overlap,
                                same_before,
                                occurrences,
                                agreeing,
                                last,
                                proven,
                                untouched,
                            });
                            assert!(seen.insert(class.number()));
                            let expected = match (distance, last, same_before) {
                                (1, true, true) => Source::Successor2,
                                (1, true, false) => Source::Successor1,
                                _ => Source::Association,
                            };
                            assert_eq!(class.source(), expected);
                        }
                    }
                }
            }
        }
        for kind in [StepKind::Length, StepKind::One, StepKind::Stride] {
            for (evidence, ahead) in (0..4).flat_map(|e| (1..=4).map(move |a| (e, a))) {
                for known in [false, true] {
                    let class = Class::of_step(&Step { kind, evidence, ahead, known });
                    assert!(seen.insert(class.number()));
                    let stride = class.source() == Source::Stride;
                    assert_eq!(stride, kind == StepKind::Stride);
                }
            }
        }
        assert_eq!(seen.len(), Class::COUNT);
        assert_eq!(seen.last(), Some(&(Class::COUNT - 1)));
    }
}
