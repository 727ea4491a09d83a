//! Applying one command: everything it changes goes into one batch, or nothing does.

use super::{
    command::{CommandResult, SplitCommand, StepNote, WriteCommand, WriteOutcome},
    keys,
    merge::put_subsumed,
    row::Row,
    session::Seen,
    state::{AppliedState, LocalReplica, ShardEvent},
    state_machine::ShardStateMachine,
};
use crate::{
    consensus::raft::types::{decode, encode, seed_log_id},
    engine::{EngineError, Space, WriteBatch},
    planted::{NO_EPOCH_CHECK, REUSE_REPLICA_ID, SKIP_DEDUP, is_planted},
};
use isobar_api::{
    DirectiveId, Epoch, Merging, NodeId, ReplicaId, ShardDescriptor, Version, directive::StepResult,
};
use std::{collections::HashMap, sync::Arc};

/// Step results kept per shard; older ones are dropped (their directives are long final).
const STEP_RESULTS_MAX: usize = 128;

impl ShardStateMachine {
    /// Applies the writes of one entry, each as if the ones before it were in the engine already.
    pub(super) fn apply_writes(
        &mut self,
        writes: &[WriteCommand],
        batch: &mut WriteBatch,
    ) -> Result<Vec<WriteOutcome>, EngineError> {
        let mut earlier = Earlier::of(writes);
        let mut outcomes = Vec::with_capacity(writes.len());
        for write in writes {
            outcomes.push(self.apply_write(write, &mut earlier, batch)?);
        }
        self.sessions.write_changed(batch);
        Ok(outcomes)
    }

    fn apply_write(
        &mut self,
        write: &WriteCommand,
        earlier: &mut Earlier,
        batch: &mut WriteBatch,
    ) -> Result<WriteOutcome, EngineError> {
        let request = (&write.client_id, write.sequence);
        match self.sessions.seen(&*self.engine, request, &write.mutations)? {
            _ if is_planted(SKIP_DEDUP) => {}
            Seen::Before(outcome) => return Ok(as_repeated(outcome)),
            Seen::Expired => return Ok(WriteOutcome::SequenceExpired),
            Seen::New => {}
        }
        let Some(descriptor) = &self.descriptor else {
            return Ok(WriteOutcome::OutsideRange);
        };
        if descriptor.merging.frozen.is_some() {
            return Ok(WriteOutcome::Frozen);
        }
        let inside = write.mutations.iter().all(|m| descriptor.range.contains(&m.key));
        if !inside && !is_planted(NO_EPOCH_CHECK) {
            return Ok(WriteOutcome::OutsideRange);
        }
        let conflict = self.conflicting_versions(descriptor, write, earlier)?;
        let outcome = if let Some(current) = conflict {
            WriteOutcome::Conflict { current, repeated: false }
        } else {
            // A number at the end of all numbers must not stop the group; no clock gets there.
            let hlc = write.hlc.max(self.applied.last_hlc.saturating_add(1));
            self.applied.last_hlc = hlc;
            let version = Version { hlc, origin: NodeId(write.origin) };
            for mutation in &write.mutations {
                let key = keys::row(descriptor.table_id, &mutation.key);
                earlier.note(&key, mutation.value.as_ref().map_or(Version::ABSENT, |_| version));
                match &mutation.value {
                    Some(value) => {
                        let row = Row::encode(version, mutation.schema_version, value);
                        batch.put(Space::Data, key, row);
                    }
                    None => batch.delete(Space::Data, key),
                }
            }
            WriteOutcome::Applied { version, repeated: false }
        };
        let request = (&write.client_id, write.sequence, write.first_unacknowledged);
        self.sessions.remember(&*self.engine, request, write.hlc, &outcome)?;
        Ok(outcome)
    }

    /// The versions seen, if a condition does not hold.
    fn conflicting_versions(
        &self,
        descriptor: &ShardDescriptor,
        write: &WriteCommand,
        earlier: &Earlier,
    ) -> Result<Option<Vec<Version>>, EngineError> {
        let mut current = Vec::new();
        let mut holds = true;
        for mutation in &write.mutations {
            let Some(expected) = mutation.expected else { continue };
            let key = keys::row(descriptor.table_id, &mutation.key);
            let version = match earlier.version(&key) {
                Some(version) => version,
                None => match self.engine.get(Space::Data, &key)? {
                    Some(stored) => {
                        Row::decode(&stored)
                            .map_err(|why| EngineError::corruption(why.to_string()))?
                            .version
                    }
                    None => Version::ABSENT,
                },
            };
            holds &= version == expected;
            current.push(version);
        }
        Ok((!holds).then_some(current))
    }

    pub(super) fn apply_split(
        &mut self,
        split: &SplitCommand,
        batch: &mut WriteBatch,
    ) -> Result<CommandResult, EngineError> {
        let refused = |why: &str| Ok(CommandResult::Refused(why.to_owned()));
        let Some(descriptor) = self.descriptor.clone() else {
            return refused("the shard has no state yet");
        };
        if descriptor.shape != split.expected_shape {
            return refused("the shard's shape has moved");
        }
        if self.applied.is_joint() {
            return refused("a membership change is half-way");
        }
        if descriptor.merging.frozen.is_some() {
            return refused("the shard is about to be merged");
        }
        let Some((left, right)) = descriptor.range.split_at(&split.at_key) else {
            return refused("the key is not strictly inside the shard");
        };
        let shape = descriptor.shape + 1;
        let parent = ShardDescriptor { range: left, shape, ..(*descriptor).clone() };
        let child = ShardDescriptor {
            shard_id: split.child,
            range: right,
            shape,
            merging: Merging::default(),
            ..(*descriptor).clone()
        };
        let result = StepResult {
            directive_id: DirectiveId(split.directive_id),
            step_index: split.step_index,
            epoch_after: Epoch { shape, membership: self.applied.membership_epoch() },
            new_shard: Some(split.child),
            copied_bytes: 0,
            already: false,
        };
        self.note_step(&StepNote::new(&result), batch)?;
        self.put_descriptor(&parent, batch);
        // Its record must not claim the child's keys: while the group is down, they are deleted by the record.
        LocalReplica::of(self.replica_id, &parent).put(parent.shard_id, batch);
        self.write_child(&child, batch)?;
        self.descriptor = Some(Arc::new(parent));
        Ok(CommandResult::Split { shape })
    }

    /// Writes the child's first state, unless this node's replica of it was already removed again:
    /// then (a lagging parent) only its rows are dropped.
    fn write_child(
        &mut self,
        child: &ShardDescriptor,
        batch: &mut WriteBatch,
    ) -> Result<(), EngineError> {
        let tombstone = self.engine.get(Space::Meta, &keys::node::tombstone(child.shard_id))?;
        if let Some(highest) = tombstone.and_then(|t| t.try_into().ok()).map(u64::from_be_bytes)
            && highest >= self.replica_id.0
        {
            let (start, end) = keys::rows(child.table_id, &child.range);
            batch.delete_range(Space::Data, start, end);
            return Ok(());
        }
        let seed = seed_log_id();
        let membership = self.applied.membership.membership().clone();
        let applied = AppliedState {
            last_applied: Some(seed),
            membership: openraft::StoredMembership::new(Some(seed), membership),
            last_hlc: self.applied.last_hlc,
        };
        self.sessions.copy_to(&*self.engine.clone(), child.shard_id, batch)?;
        LocalReplica::of(self.replica_id, child).put(child.shard_id, batch);
        batch.put(Space::Meta, keys::applied(child.shard_id), encode(&applied));
        self.put_descriptor(child, batch);
        put_subsumed(child.shard_id, &self.subsumed, batch);
        let (parent, child) = (self.shard_id, child.shard_id);
        self.news.push(ShardEvent::SplitApplied { parent, child });
        Ok(())
    }

    pub(super) fn apply_allocate(&mut self, batch: &mut WriteBatch) -> CommandResult {
        let Some(descriptor) = self.descriptor.clone() else {
            return CommandResult::Refused("the shard has no state yet".into());
        };
        if descriptor.merging.frozen.is_some() {
            return CommandResult::Refused("the shard is about to be merged".into());
        }
        let id = ReplicaId(descriptor.next_replica_id);
        let taken = u64::from(!is_planted(REUSE_REPLICA_ID));
        let next = ShardDescriptor { next_replica_id: id.0 + taken, ..(*descriptor).clone() };
        self.put_descriptor(&next, batch);
        self.descriptor = Some(Arc::new(next));
        CommandResult::Replica(id)
    }

    pub(super) fn note_step(
        &mut self,
        note: &StepNote,
        batch: &mut WriteBatch,
    ) -> Result<(), EngineError> {
        let (start, end) = keys::steps(self.shard_id);
        let held =
            self.engine.scan(Space::Meta, &keys::page(&start, &end, STEP_RESULTS_MAX + 1))?.rows;
        if held.len() >= STEP_RESULTS_MAX {
            // Keys ascend by directive id: the first is the oldest.
            batch.delete(Space::Meta, held[0].0.clone());
        }
        let key = keys::step(self.shard_id, note.directive_id, note.step_index);
        batch.put(Space::Meta, key, note.result_json.clone().into_bytes());
        Ok(())
    }

    pub(super) fn put_descriptor(&self, descriptor: &ShardDescriptor, batch: &mut WriteBatch) {
        let stored = serde_json::to_vec(descriptor).expect("plain data always encodes");
        batch.put(Space::Meta, keys::descriptor(descriptor.shard_id), stored);
    }
}

/// The rows that earlier writes of the same entry have changed; kept only if a condition may ask for one.
struct Earlier(Option<HashMap<Vec<u8>, Version>>);

impl Earlier {
    fn of(writes: &[WriteCommand]) -> Self {
        let mut later = writes.iter().skip(1).flat_map(|write| &write.mutations);
        Self(later.any(|mutation| mutation.expected.is_some()).then(HashMap::new))
    }

    fn note(&mut self, key: &[u8], version: Version) {
        if let Some(rows) = &mut self.0 {
            rows.insert(key.to_vec(), version);
        }
    }

    fn version(&self, key: &[u8]) -> Option<Version> {
        self.0.as_ref()?.get(key).copied()
    }
}

fn as_repeated(outcome: WriteOutcome) -> WriteOutcome {
    match outcome {
        WriteOutcome::Applied { version, .. } => WriteOutcome::Applied { version, repeated: true },
        WriteOutcome::Conflict { current, .. } => {
            WriteOutcome::Conflict { current, repeated: true }
        }
        other => other,
    }
}

/// Reads the applied state of a shard as stored.
pub(crate) fn decode_applied(stored: &[u8]) -> Result<AppliedState, EngineError> {
    decode(stored).map_err(|why| EngineError::corruption(format!("applied state: {why}")))
}

/// Reads the descriptor of a shard as stored.
pub(crate) fn decode_descriptor(stored: &[u8]) -> Result<ShardDescriptor, EngineError> {
    serde_json::from_slice(stored)
        .map_err(|why| EngineError::corruption(format!("shard descriptor: {why}")))
}
