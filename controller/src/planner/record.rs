//! What was weighed, kept within a bound: everything chosen, then the best of what was not.

use super::{reject::Reject, score::Score};
use isobar_api::{
    ShardId,
    directive::{DirectiveKind, Step},
    plan::Candidate,
};

/// Most candidates in the record of one plan.
pub(crate) const CANDIDATES_MAX: usize = 200;

/// Where in the ladder something was rejected; earlier ones are shown first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Repair,
    Drain,
    Split,
    Readers,
    Load,
    Merge,
    /// Nothing could be weighed: telemetry is missing, or there is too little to gain.
    Unweighed,
}

struct Rejected {
    rank: (Stage, Score, ShardId),
    kind: DirectiveKind,
    steps: Vec<Step>,
    why: Reject,
}

/// The record under construction.
#[derive(Default)]
pub(crate) struct Record {
    chosen: Vec<Candidate>,
    rejected: Vec<Rejected>,
    dropped: u64,
}

impl Record {
    /// Notes what was chosen.
    pub(crate) fn chose(
        &mut self,
        shard: ShardId,
        kind: DirectiveKind,
        steps: Vec<Step>,
        score: Score,
    ) {
        let score = score.terms();
        self.chosen.push(Candidate { shard, kind, steps, score, rejected: None });
    }

    /// Notes what was not chosen, and why. Sentences are only written for those that stay.
    pub(crate) fn rejected(
        &mut self,
        stage: Stage,
        shard: ShardId,
        kind: DirectiveKind,
        steps: Vec<Step>,
        score: Score,
        why: Reject,
    ) {
        self.rejected.push(Rejected { rank: (stage, score, shard), kind, steps, why });
        // A million rejections must not be held at once.
        if self.rejected.len() >= 8 * CANDIDATES_MAX {
            self.shrink(CANDIDATES_MAX);
        }
    }

    fn shrink(&mut self, to: usize) {
        self.rejected.sort_by_key(|r| r.rank);
        self.dropped += self.rejected.len().saturating_sub(to) as u64;
        self.rejected.truncate(to);
    }

    /// The candidates as they are kept, and how many were left out.
    pub(crate) fn finish(mut self) -> (Vec<Candidate>, u64) {
        self.shrink(CANDIDATES_MAX.saturating_sub(self.chosen.len()));
        let rest = self.rejected.into_iter().map(|r| Candidate {
            shard: r.rank.2,
            kind: r.kind,
            steps: r.steps,
            score: r.rank.1.terms(),
            rejected: Some(r.why.to_string()),
        });
        let mut all = self.chosen;
        all.extend(rest);
        (all, self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_rejected_and_all_chosen_stay() {
        let mut record = Record::default();
        for i in (0..5_000).rev() {
            let score = Score { read_wait_us_per_s: i, ..Score::default() };
            let shard = ShardId(i as u64);
            record.rejected(
                Stage::Readers,
                shard,
                DirectiveKind::TransferLeader,
                vec![],
                score,
                Reject::NoReport,
            );
        }
        record.chose(ShardId(9_999), DirectiveKind::Split, vec![], Score::default());
        let (kept, dropped) = record.finish();
        assert_eq!((kept.len(), dropped), (CANDIDATES_MAX, 5_001 - CANDIDATES_MAX as u64));
        assert_eq!((kept[0].shard, kept[1].shard), (ShardId(9_999), ShardId(0)));
        assert!(kept[0].rejected.is_none() && kept[1].rejected.is_some());
    }
}
