//! What hard limits are exceeded is mended before anything else, whatever the budget: a plan that breaks them is none.

use super::dice::Dice;
use super::search::Search;

/// Attempts after which it is given up.
const ATTEMPTS_MAX: usize = 1_500;
/// Attempts between two looks at which shard is where.
const AGE_MAX: usize = 32;

impl Search<'_> {
    /// Nodes that have more than they may.
    fn overfull(&self) -> Vec<usize> {
        let over = |n: &usize| {
            let (load, bytes) = (self.desk.load[*n], self.desk.bytes[*n]);
            self.desk.g.strain(*n as u16, load, bytes).overflow > 0
        };
        (0..self.desk.g.nodes.len()).filter(over).collect()
    }

    /// Empties overfull nodes: shards on them are moved one by one, then together with some that may take their place.
    pub(crate) fn repair(&mut self, dice: &mut Dice) {
        for n in self.overfull() {
            for s in std::mem::take(&mut self.lists()[n]) {
                self.improve(s as usize);
            }
        }
        let (mut lists, mut age) = (self.lists(), 0);
        for _ in 0..ATTEMPTS_MAX {
            let overfull = self.overfull();
            if overfull.is_empty() {
                return;
            }
            if age == AGE_MAX {
                (lists, age) = (self.lists(), 0);
            }
            age += 1;
            let list = &lists[overfull[dice.below(overfull.len())]];
            if list.is_empty() {
                age = AGE_MAX;
                continue;
            }
            let group = self.group(dice, &lists, list[dice.below(list.len())] as usize);
            if self.rebuild(&group, dice.below(2) == 0) {
                age = AGE_MAX;
            }
        }
    }
}
