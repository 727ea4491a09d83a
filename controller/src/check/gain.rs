//! An optimisation must promise something.

use super::{Finding, Scene, fatal, remark};

pub(super) fn rule(scene: &Scene<'_>) -> Vec<Finding> {
    if !scene.is_optimisation() {
        return Vec::new();
    }
    let e = &scene.directive.predicted;
    // Negated, so that a value that is no number fails too.
    let improves = e.after < e.before;
    if !improves {
        return vec![fatal(format!(
            "{} would go from {:.3} to {:.3}",
            e.metric, e.before, e.after
        ))];
    }
    if e.after_upper > e.before {
        return vec![remark(format!("{} could also end above {:.3}", e.metric, e.before))];
    }
    Vec::new()
}
