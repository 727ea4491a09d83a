//! Merging two neighbours, as their state machines see it. `docs/src/merge.md` tells the whole story.
//!
//! ```text
//! right ── Freeze ─────────────── (every replica has applied it, durably) ──────────── gone
//! left  ────────────────────────────────────────────────────────────── Subsume ── owns both
//!                                                        or: CallOff, and then Thaw in the right
//! ```
//! The left shard's log decides: what comes first in it, the take-over or the calling off, is what happens.

use super::{
    apply::{decode_applied, decode_descriptor},
    command::{CommandResult, FreezeCommand, StepNote, SubsumeCommand},
    keys,
    state::{LocalReplica, ShardEvent},
    state_machine::ShardStateMachine,
};
use crate::engine::{Engine, EngineError, Scan, Space, WriteBatch, offload};
use isobar_api::{
    DirectiveId, Epoch, Frozen, KeyRange, ShardDescriptor, ShardId, directive::StepResult,
};
use std::{collections::BTreeSet, io, sync::Arc};

impl ShardStateMachine {
    /// From here on nothing changes the shard's rows or sessions.
    pub(super) fn apply_freeze(
        &mut self,
        freeze: &FreezeCommand,
        index: u64,
        batch: &mut WriteBatch,
    ) -> CommandResult {
        let refused = |why: &str| CommandResult::Refused(why.to_owned());
        let Some(descriptor) = self.descriptor.clone() else {
            return refused("the shard has no state yet");
        };
        if let Some(frozen) = &descriptor.merging.frozen {
            let again = frozen.into == freeze.into && frozen.round == freeze.round;
            return match again {
                true => CommandResult::Frozen { index: frozen.index },
                false => refused("the shard is frozen for another merge"),
            };
        }
        if descriptor.shape != freeze.expected_shape {
            return refused("the shard's shape has moved");
        }
        let membership = self.applied.membership_epoch();
        if self.applied.is_joint() || membership != freeze.expected_membership {
            return refused("the shard's membership has moved");
        }
        let mut next = (*descriptor).clone();
        next.merging.frozen = Some(Frozen { into: freeze.into, round: freeze.round, index });
        self.take_descriptor(next, batch);
        CommandResult::Frozen { index }
    }

    /// Only whoever has it from the survivor's log that the merge is off may ask for this.
    pub(super) fn apply_thaw(&mut self, index: u64, batch: &mut WriteBatch) -> CommandResult {
        if let Some(descriptor) = self.descriptor.clone()
            && descriptor.merging.frozen.as_ref().is_some_and(|frozen| frozen.index == index)
        {
            let mut next = (*descriptor).clone();
            next.merging.frozen = None;
            self.take_descriptor(next, batch);
        }
        CommandResult::None
    }

    pub(super) fn apply_call_off(
        &mut self,
        right: ShardId,
        round: u64,
        batch: &mut WriteBatch,
    ) -> CommandResult {
        let Some(descriptor) = self.descriptor.clone() else {
            return CommandResult::Refused("the shard has no state yet".into());
        };
        if self.subsumed.contains(&right) {
            return CommandResult::Subsumed;
        }
        if descriptor.merging.round <= round {
            let mut next = (*descriptor).clone();
            next.merging.round = round.saturating_add(1);
            self.take_descriptor(next, batch);
        }
        CommandResult::CalledOff
    }

    /// Why the right neighbour is not taken over. The same on every replica: it depends on this shard's state alone.
    fn subsume_refused(&self, subsume: &SubsumeCommand) -> Option<&'static str> {
        let Some(descriptor) = &self.descriptor else {
            return Some("the shard has no state yet");
        };
        let right = KeyRange { start: subsume.right_start.clone(), end: subsume.right_end.clone() };
        if descriptor.merging.frozen.is_some() {
            Some("the shard is frozen itself")
        } else if descriptor.shape != subsume.expected_shape {
            Some("the shard's shape has moved")
        } else if descriptor.merging.round != subsume.round {
            Some("the merge was called off")
        } else if self.applied.is_joint()
            || self.applied.membership_epoch() != subsume.expected_membership
        {
            Some("the shard's membership has moved")
        } else if descriptor.range.join(&right).is_none() {
            Some("the shards do not adjoin")
        } else {
            None
        }
    }

    /// Keeps the group of a shard that is about to be subsumed here from its rows and records, for good.
    pub(super) async fn withdraw_right(&self, subsume: &SubsumeCommand) -> Result<(), io::Error> {
        if self.subsume_refused(subsume).is_none()
            && let Some(right) = self.host.state_of(subsume.right)
        {
            let withdrawn = offload(&self.engine, move || right.withdraw_rows()).await;
            return withdrawn.map_err(io::Error::other);
        }
        Ok(())
    }

    /// Takes over the right neighbour: its keys, its sessions, its clock. Its rows lie where they are.
    pub(super) fn apply_subsume(
        &mut self,
        subsume: &SubsumeCommand,
        batch: &mut WriteBatch,
    ) -> Result<CommandResult, EngineError> {
        if let Some(why) = self.subsume_refused(subsume) {
            return Ok(CommandResult::Refused(why.to_owned()));
        }
        let engine = self.engine.clone();
        let (right, last_hlc) = frozen_right(&*engine, self.shard_id, subsume)?;
        let left = self.descriptor.clone().expect("looked at above");
        let range = left.range.join(&right.range).expect("looked at above");
        let shape = left.shape.max(right.shape) + 1;
        self.sessions.absorb(&*engine, right.shard_id, (&left.range.start, &right.range.start))?;
        self.sessions.write_changed(batch);
        self.applied.last_hlc = self.applied.last_hlc.max(last_hlc);
        let mut subsumed = (*self.subsumed).clone();
        subsumed.append(&mut load_subsumed(&*engine, right.shard_id)?);
        subsumed.insert(right.shard_id);
        put_subsumed(self.shard_id, &subsumed, batch);
        self.subsumed = Arc::new(subsumed);
        let result = StepResult {
            directive_id: DirectiveId(subsume.directive_id),
            step_index: subsume.step_index,
            epoch_after: Epoch { shape, membership: self.applied.membership_epoch() },
            new_shard: None,
            copied_bytes: 0,
            already: false,
        };
        self.note_step(&StepNote::new(&result), batch)?;
        let merged = ShardDescriptor { range, shape, ..(*left).clone() };
        LocalReplica::of(self.replica_id, &merged).put(merged.shard_id, batch);
        self.take_descriptor(merged, batch);
        forget(right.shard_id, batch);
        self.news.push(ShardEvent::Subsumed { survivor: self.shard_id, right: right.shard_id });
        Ok(CommandResult::Subsumed)
    }

    fn take_descriptor(&mut self, next: ShardDescriptor, batch: &mut WriteBatch) {
        self.put_descriptor(&next, batch);
        self.descriptor = Some(Arc::new(next));
    }
}

/// The state of the right shard on this node, as it was frozen. It was known to be here, durably, before the command was
/// logged: if it is not, this node's data are damaged.
fn frozen_right(
    engine: &dyn Engine,
    survivor: ShardId,
    subsume: &SubsumeCommand,
) -> Result<(ShardDescriptor, u64), EngineError> {
    let right = subsume.right;
    let damaged = |what: &str| {
        EngineError::corruption(format!("{right} was frozen for {survivor}; here it {what}"))
    };
    let stored = engine.get(Space::Meta, &keys::descriptor(right))?;
    let descriptor = decode_descriptor(&stored.ok_or_else(|| damaged("has no descriptor"))?)?;
    let applied = engine.get(Space::Meta, &keys::applied(right))?;
    let applied = decode_applied(&applied.ok_or_else(|| damaged("has nothing applied"))?)?;
    let frozen = Frozen { into: survivor, round: subsume.round, index: subsume.freeze_index };
    if descriptor.merging.frozen != Some(frozen) {
        return Err(damaged("is not"));
    }
    let range = KeyRange { start: subsume.right_start.clone(), end: subsume.right_end.clone() };
    if descriptor.range != range || descriptor.shape != subsume.right_shape {
        return Err(damaged("has another range"));
    }
    Ok((descriptor, applied.last_hlc))
}

/// Deletes all records of a shard that is part of another one now, but none of its rows. It never comes back to this
/// node. Its log is destroyed once this is durable.
pub(super) fn forget(shard: ShardId, batch: &mut WriteBatch) {
    let (start, end) = keys::sessions(shard);
    batch.delete_range(Space::Sessions, start.clone(), end.clone());
    batch.delete_range(Space::Staging, start.clone(), end.clone());
    batch.delete_range(Space::Meta, start, end);
    batch.delete(Space::Meta, keys::node::replica(shard));
    batch.put(Space::Meta, keys::node::tombstone(shard), u64::MAX.to_be_bytes().to_vec());
    batch.put(Space::Meta, keys::node::log_left(shard), Vec::new());
}

/// The shards that are part of a shard, as stored.
pub(super) fn load_subsumed(
    engine: &dyn Engine,
    shard: ShardId,
) -> Result<BTreeSet<ShardId>, EngineError> {
    let (start, end) = keys::all_subsumed(shard);
    let mut scan = Some(Scan::range(start, Some(end)));
    let mut found = BTreeSet::new();
    while let Some(page_scan) = scan {
        let page = engine.scan(Space::Meta, &page_scan)?;
        found.extend(page.rows.iter().map(|(key, _)| keys::last_shard(key)));
        scan = page_scan.after(&page);
    }
    Ok(found)
}

/// Puts the shards that are part of a shard.
pub(super) fn put_subsumed(shard: ShardId, subsumed: &BTreeSet<ShardId>, batch: &mut WriteBatch) {
    for right in subsumed {
        batch.put(Space::Meta, keys::subsumed(shard, *right), Vec::new());
    }
}

/// Those of the shards that have a replica of their own on this node.
pub(super) fn held_here(
    engine: &dyn Engine,
    shards: &BTreeSet<ShardId>,
) -> Result<Vec<ShardId>, EngineError> {
    let mut held = Vec::new();
    for shard in shards {
        if engine.get(Space::Meta, &keys::node::replica(*shard))?.is_some() {
            held.push(*shard);
        }
    }
    Ok(held)
}
