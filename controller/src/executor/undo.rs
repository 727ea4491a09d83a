//! Which undo steps reverse what was done so far, and whether a step's effect is already there.

use isobar_api::{
    ReplicaRole, ShardEntry,
    directive::{Directive, Step},
    table::key_from_text,
};

/// Whether an undo step reverses one of the steps up to and including `attempted`. The attempted
/// one counts: its effect may be there although its answer was lost; reversing what is not there
/// is refused or answered with "already", and does no harm.
pub(super) fn is_needed(undo: &Step, directive: &Directive, attempted: u32) -> bool {
    let upto = directive.steps.len().min(attempted as usize + 1);
    directive.steps[..upto].iter().any(|done| match (undo, done) {
        (
            Step::AddLearner { node } | Step::Promote { node },
            Step::RemoveReplica { node: gone },
        ) => node == gone,
        (Step::TransferLeader { .. }, Step::TransferLeader { .. }) => true,
        (Step::RemoveReplica { node }, Step::AddLearner { node: added }) => node == added,
        _ => false,
    })
}

/// Whether anything can be reversed at all.
pub(super) fn any_needed(directive: &Directive, attempted: u32) -> bool {
    directive.undo.iter().any(|undo| is_needed(undo, directive, attempted))
}

/// Whether the shard is as the step would leave it.
pub(super) fn is_in_effect(step: &Step, entry: &ShardEntry) -> bool {
    let role = |node| entry.replica_on(node).map(|r| r.role);
    match step {
        Step::AddLearner { node } => role(*node).is_some(),
        Step::Promote { node } => role(*node) == Some(ReplicaRole::Voter),
        Step::TransferLeader { node } => entry.leader == Some(*node),
        Step::RemoveReplica { node } => role(*node).is_none(),
        Step::Split { at_key } => key_from_text(at_key).is_ok_and(|key| entry.range.end == key),
        // The entry does not say which shards it is made of. The node does: asked again, it answers from memory.
        Step::Merge { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::fake_node::move_directive;
    use isobar_api::NodeId;

    #[test]
    fn only_what_was_tried_is_undone() {
        let directive = move_directive(1, 4);
        let undone = |attempted| -> Vec<String> {
            let needed = directive.undo.iter().filter(|u| is_needed(u, &directive, attempted));
            needed.map(ToString::to_string).collect()
        };
        assert_eq!(undone(0), ["remove replica from n4"]);
        assert_eq!(undone(1), ["remove replica from n4"]);
        assert_eq!(undone(2), ["transfer leader to n1", "remove replica from n4"]);
        assert_eq!(undone(3).len(), directive.undo.len());
    }

    #[test]
    fn a_split_cannot_be_undone() {
        let mut directive = move_directive(1, 4);
        directive.steps = vec![Step::Split { at_key: "m".into() }];
        directive.undo = vec![];
        assert!(!any_needed(&directive, 0));
    }

    #[test]
    fn effects_are_recognised() {
        let mut entry = crate::executor::fake_node::entry();
        assert!(is_in_effect(&Step::TransferLeader { node: NodeId(1) }, &entry));
        assert!(!is_in_effect(&Step::AddLearner { node: NodeId(4) }, &entry));
        assert!(is_in_effect(&Step::RemoveReplica { node: NodeId(4) }, &entry));
        let split = Step::Split { at_key: "m".into() };
        assert!(!is_in_effect(&split, &entry));
        entry.range.end = b"m".to_vec();
        assert!(is_in_effect(&split, &entry));
    }
}
