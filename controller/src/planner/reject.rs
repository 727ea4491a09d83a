//! Why something is not done: typed inside the planner, one sentence outside.

use isobar_api::{DirectiveId, NodeId, ShardId, directive::DirectiveKind};
use std::fmt;

/// A reason against a change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reject {
    Busy(Option<DirectiveId>),
    Unconfirmed(DirectiveId),
    Frozen(String),
    NodeFrozen(NodeId),
    TableUnknown,
    TableCreating,
    SystemTable,
    Taken(DirectiveKind),
    NoReport,
    Stale { age_ms: u64 },
    FewWindows { have: u32, need: u32 },
    NoForecast,
    ForecastOld { age_ms: u64 },
    NoLeader,
    NotWell { node: NodeId },
    NotWhole { voters: usize, want: u8 },
    LearnerPresent(NodeId),
    Dwell { left_s: u64 },
    HourBudget { moves: u32 },
    FewReads { reads_per_s: f64 },
    ReadersUnknown { share: f64 },
    RttUnknown,
    GainSmall { lower_ms: f64, need_ms: f64 },
    GainShareSmall { share: f64, need: f64 },
    MovesOff,
    NoTarget(Tally),
    Budget { kind: DirectiveKind, max: u32 },
    Quiet,
    Copies { node: NodeId, max: u32 },
    CopyLarge { size_bytes: u64, max_bytes: u64 },
    ReplicasMax { max: u8 },
    MassFailure { dead: usize, nodes: usize },
    NotDeadLongEnough { node: NodeId, left_s: u64 },
    QuorumLost { alive: usize, voters: usize },
    HealthUnknown(NodeId),
    Unsplittable { share: f64 },
    NoSplitKey,
    SplitDwell { left_s: u64 },
    MergeDwell { left_s: u64 },
    NotAligned,
    Neighbour(ShardId, Box<Reject>),
    Gap { requests_per_s: f64, gap_per_s: f64 },
}

impl fmt::Display for Reject {
    #[rustfmt::skip]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(Some(id)) => write!(f, "{id} is working on the shard"),
            Self::Busy(None) => f.write_str("another directive is working on the shard"),
            Self::Unconfirmed(id) => write!(f, "the effect of {id} has not shown in telemetry yet"),
            Self::Frozen(why) => write!(f, "frozen: {why}"),
            Self::NodeFrozen(node) => write!(f, "{node} is frozen"),
            Self::TableUnknown => f.write_str("the table's rule is not known, so its allowed regions are not"),
            Self::TableCreating => f.write_str("the table is still being created"),
            Self::SystemTable => f.write_str("the system table is neither balanced nor split"),
            Self::Taken(kind) => write!(f, "this plan already has a {kind} for the shard"),
            Self::NoReport => f.write_str("no leader has reported the shard yet"),
            Self::Stale { age_ms } => write!(f, "telemetry is {:.1} s old", *age_ms as f64 / 1e3),
            Self::FewWindows { have, need } => write!(f, "{have} windows seen, {need} are needed"),
            Self::NoForecast => f.write_str("no forecast of its arrivals"),
            Self::ForecastOld { age_ms } => write!(f, "its forecast is {:.1} s old", *age_ms as f64 / 1e3),
            Self::NoLeader => f.write_str("no leader is known"),
            Self::NotWell { node } => write!(f, "the replica on {node} is not well; repair comes first"),
            Self::NotWhole { voters, want } => write!(f, "{voters} voters instead of {want}; repair comes first"),
            Self::LearnerPresent(node) => write!(f, "a learner on {node} is left over or catching up"),
            Self::Dwell { left_s } => write!(f, "moved lately: left alone for {left_s} s more"),
            Self::HourBudget { moves } => write!(f, "moved {moves} times within the hour, the policy allows no more"),
            Self::FewReads { reads_per_s } => write!(f, "{reads_per_s:.2} reads/s are too few to be worth a move"),
            Self::ReadersUnknown { share } => {
                write!(f, "only {:.0} % of the reads come from regions with a known round-trip time", share * 100.0)
            }
            Self::RttUnknown => f.write_str("no round-trip time between its readers and any place it could go"),
            Self::GainSmall { lower_ms, need_ms } => {
                write!(f, "the gain may be as small as {lower_ms:.2} ms, more than {need_ms:.2} ms are needed")
            }
            Self::GainShareSmall { share, need } => {
                write!(f, "the gain may be as small as {:.1} %, more than {:.1} % are needed", share * 100.0, need * 100.0)
            }
            Self::MovesOff => f.write_str("the policy allows no replica moves"),
            Self::NoTarget(tally) => write!(f, "no eligible node: {tally}"),
            Self::Budget { kind, max } => write!(f, "waits for its turn: {max} directives are under way ({kind})"),
            Self::Quiet => f.write_str("the same change came to nothing a moment ago; it will be tried again"),
            Self::Copies { node, max } => write!(f, "waits for its turn: {node} already takes part in {max} copies"),
            Self::CopyLarge { size_bytes, max_bytes } => {
                write!(f, "copying {size_bytes} bytes is above the budget of {max_bytes}")
            }
            Self::ReplicasMax { max } => {
                write!(f, "the table allows {max} replicas, so none can be added before one is removed")
            }
            Self::MassFailure { dead, nodes } => write!(
                f,
                "mass failure: {dead} of {nodes} nodes are dead, more than repair.dead_share_max; waits for a person"
            ),
            Self::NotDeadLongEnough { node, left_s } => write!(f, "{node} is dead, replaced in {left_s} s if it stays so"),
            Self::QuorumLost { alive, voters } => {
                write!(f, "quorum lost: {alive} of {voters} voters may be alive; needs a person")
            }
            Self::HealthUnknown(node) => write!(f, "it is not known whether {node} is alive"),
            Self::Unsplittable { share } => write!(f, "unsplittable: one key takes {:.0} %", share * 100.0),
            Self::NoSplitKey => f.write_str("no key is known at which a cut would divide its requests"),
            Self::SplitDwell { left_s } => write!(f, "changed lately: left uncut for {left_s} s more"),
            Self::MergeDwell { left_s } => write!(f, "changed lately: not merged for {left_s} s more"),
            Self::NotAligned => f.write_str("the replicas of the two lie on different nodes"),
            Self::Neighbour(shard, why) => write!(f, "{shard}: {why}"),
            Self::Gap { requests_per_s, gap_per_s } => write!(
                f,
                "no shard fits: the lightest candidate carries {requests_per_s:.1} requests/s, the gap is {gap_per_s:.1}"
            ),
        }
    }
}

/// Why each node was no place for a replica, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub not_alive: u32,
    pub draining: u32,
    pub frozen: u32,
    pub outside: u32,
    pub holds_one: u32,
    pub no_room: u32,
    pub copying: u32,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.holds_one, "hold a replica already"),
            (self.outside, "outside the allowed regions"),
            (self.not_alive, "not alive or not reporting"),
            (self.draining, "draining"),
            (self.frozen, "frozen"),
            (self.no_room, "without disk headroom"),
            (self.copying, "at their limit of copies"),
        ];
        let mut parts = counts.iter().filter(|(n, _)| *n > 0).peekable();
        if parts.peek().is_none() {
            return f.write_str("there is no other node");
        }
        let text: Vec<String> = parts.map(|(n, what)| format!("{n} {what}")).collect();
        f.write_str(&text.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_carry_their_figures() {
        assert_eq!(
            Reject::Unsplittable { share: 0.734 }.to_string(),
            "unsplittable: one key takes 73 %"
        );
        let tally = Tally { outside: 2, holds_one: 3, ..Tally::default() };
        assert_eq!(
            Reject::NoTarget(tally).to_string(),
            "no eligible node: 3 hold a replica already, 2 outside the allowed regions"
        );
        assert!(Reject::NoTarget(Tally::default()).to_string().contains("no other node"));
    }
}
