//! An entry that one replica knows to be committed is the entry of this index for every replica, for ever.

use super::{Invariant, Seen};
use isobar_api::ShardId;
use isobar_node::observe::stored_entries;
use std::collections::BTreeMap;

/// Remembers term and hash of every committed entry.
#[derive(Default)]
pub struct CommittedNeverChanges {
    committed: BTreeMap<(ShardId, u64), (u64, [u8; 32])>,
}

impl Invariant for CommittedNeverChanges {
    fn name(&self) -> &'static str {
        "committed_never_changes"
    }

    fn is_costly(&self) -> bool {
        true
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (node, replica) in seen.replicas() {
            let Some((_, upto)) = replica.committed else { continue };
            let log = &*node.running.log;
            let Ok(stored) = stored_entries(log, replica.shard, 0, upto) else { continue };
            // A snapshot that was installed ends beyond the log: until the removal of what is below it is written, that
            // may be entries of an earlier leader that were never committed. Nobody reads them any more.
            if stored.last().is_none_or(|last| last.index != upto) {
                continue;
            }
            for entry in stored {
                let now = (entry.term, entry.hash);
                let first = *self.committed.entry((replica.shard, entry.index)).or_insert(now);
                if first != now {
                    return Err(format!(
                        "entry {} of {} was committed with term {}; {} on {} has committed one of term {}",
                        entry.index,
                        replica.shard,
                        first.0,
                        replica.replica,
                        node.running.node,
                        now.0
                    ));
                }
            }
        }
        Ok(())
    }
}
