//! Two logs that have an entry of the same index and term have the same entry there.

use super::{Invariant, Seen};
use isobar_api::ShardId;
use isobar_node::observe::stored_entries;
use std::collections::BTreeMap;

/// Remembers every entry that was seen.
#[derive(Default)]
pub struct LogMatching {
    entries: BTreeMap<(ShardId, u64, u64), [u8; 32]>,
}

impl Invariant for LogMatching {
    fn name(&self) -> &'static str {
        "log_matching"
    }

    fn is_costly(&self) -> bool {
        true
    }

    fn check(&mut self, seen: &Seen) -> Result<(), String> {
        for (node, replica) in seen.replicas() {
            let Some(last) = replica.last_index else { continue };
            let log = &*node.running.log;
            let Ok(stored) = stored_entries(log, replica.shard, 0, last) else { continue };
            for entry in stored {
                let at = (replica.shard, entry.index, entry.term);
                if *self.entries.entry(at).or_insert(entry.hash) != entry.hash {
                    let (shard, index, term) = at;
                    return Err(format!(
                        "two entries of {shard} have index {index} and term {term}"
                    ));
                }
            }
        }
        Ok(())
    }
}
