//! Plans: decisions as records. They explain, they audit, and they are the next training set.

use crate::{
    directive::{Directive, DirectiveKind, DirectiveState, Step},
    error::{ApiError, ErrorCode},
    ids::{DirectiveId, NodeId, PlanId, ShardId, Term},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What a change does to one figure of one shard, with a 90 % interval on the figure afterwards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// The figure, unit last: `read_rtt_ms_mean`, `requests_per_s_max`, `voters`.
    pub metric: String,
    /// Before.
    pub before: f64,
    /// Expected afterwards.
    pub after: f64,
    /// Lower end of the interval.
    pub after_lower: f64,
    /// Upper end of the interval.
    pub after_upper: f64,
    /// What the same figure was when measured after the change, once it was.
    #[serde(default)]
    pub realised: Option<f64>,
}

/// One term of a score. Terms compare in order: the first that differs decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreTerm {
    /// What it measures, unit last.
    pub name: String,
    /// Its value; smaller is better.
    pub value: f64,
}

/// A possible change that was weighed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The shard.
    pub shard: ShardId,
    /// What kind of change.
    pub kind: DirectiveKind,
    /// What it would do.
    pub steps: Vec<Step>,
    /// Its score.
    pub score: Vec<ScoreTerm>,
    /// Why it was not taken; `None`: it was.
    pub rejected: Option<String>,
}

/// One input of the decision and how old it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputAge {
    /// Where it came from: a node's report, a forecast, the policy.
    pub source: String,
    /// Its age when the plan was made, milliseconds; `None`: it was missing.
    pub age_ms: Option<u64>,
}

/// A finding of the plan linter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckNote {
    /// Whether it stops the directive.
    pub fatal: bool,
    /// The shard concerned.
    pub shard: ShardId,
    /// What was found.
    pub message: String,
}

/// A decision: what was seen, what was weighed, what was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its id; zero until the journal gave it one.
    pub id: PlanId,
    /// The plan before it.
    pub parent: Option<PlanId>,
    /// Controller term it was made in.
    pub controller_term: Term,
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// Version of the policy.
    pub policy_version: u64,
    /// Seed for ties.
    pub seed: u64,
    /// Hash of the view, policy, forecasts and seed: equal hash, equal plan.
    pub input_hash: String,
    /// Inputs and their ages.
    pub inputs: Vec<InputAge>,
    /// Everything that was weighed (bounded; see `candidates_dropped`).
    pub candidates: Vec<Candidate>,
    /// Candidates left out of the record to bound its size.
    pub candidates_dropped: u64,
    /// What was chosen.
    pub directives: Vec<Directive>,
    /// What the linter said.
    pub notes: Vec<CheckNote>,
}

/// A state change of a directive, as journaled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectiveEvent {
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// Term of the controller that wrote it.
    pub controller_term: Term,
    /// The new state.
    pub state: DirectiveState,
    /// Steps that are done.
    pub steps_done: u32,
    /// Why, typed where a node refused.
    pub reason: String,
}

/// A directive with its history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectiveRecord {
    /// The directive; `predicted.realised` is filled once verified.
    pub directive: Directive,
    /// Where it stands.
    pub state: DirectiveState,
    /// Steps that are done.
    pub steps_done: u32,
    /// Every journaled change, oldest first.
    pub events: Vec<DirectiveEvent>,
}

/// A plan with the records of its directives: what `isobar plan why` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// The plan.
    pub plan: Plan,
    /// Its directives as they are now.
    pub directives: Vec<DirectiveRecord>,
}

/// A plan in one line of a list; `GetPlan` has the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// Its id.
    pub id: PlanId,
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// Controller term it was made in.
    pub controller_term: Term,
    /// Version of the policy.
    pub policy_version: u64,
    /// What was weighed, left-out candidates included.
    pub candidates: u64,
    /// What the linter said, fatal or not.
    pub notes: u64,
    /// What was chosen, as it stands now.
    pub directives: Vec<DirectiveSummary>,
}

/// A directive in one line of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectiveSummary {
    /// Its id.
    pub id: DirectiveId,
    /// What it is for.
    pub kind: DirectiveKind,
    /// The shard.
    pub shard: ShardId,
    /// Where it stands.
    pub state: DirectiveState,
    /// Why, in a sentence with figures.
    pub reason: String,
}

/// A freeze of a scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Freeze {
    /// `cluster`, `table:NAME`, `shard:ID`, `node:ID` or `region:NAME`.
    pub scope: String,
    /// Why.
    pub reason: String,
    /// Who.
    pub owner: String,
    /// Until, Unix milliseconds.
    pub expires_at_unix_ms: u64,
}

/// What is asked of the emptying of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainAction {
    /// Begin, or go on.
    Start,
    /// Stop; replicas may go there again.
    Cancel,
    /// Only say how far it has come.
    Status,
}

impl fmt::Display for DrainAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Start => "start",
            Self::Cancel => "cancel",
            Self::Status => "status",
        })
    }
}

impl FromStr for DrainAction {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, ApiError> {
        match text {
            "start" => Ok(Self::Start),
            "cancel" => Ok(Self::Cancel),
            "status" => Ok(Self::Status),
            _ => Err(ApiError::new(
                ErrorCode::InvalidArgument,
                format!("`{text}` is not an action: start, cancel or status"),
            )),
        }
    }
}

/// How far the emptying of a node has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// The node.
    pub node: NodeId,
    /// `draining`, `drained` or `cancelled`.
    pub state: String,
    /// Replicas still there.
    pub replicas_left: u32,
    /// Replicas that were there when it began.
    pub replicas_at_start: u32,
    /// Estimated seconds until it is empty; `None` while nothing has moved yet.
    pub eta_s: Option<f64>,
    /// What cannot move, and why.
    pub blockers: Vec<DrainBlocker>,
}

/// A shard that keeps a node from being empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainBlocker {
    /// The shard.
    pub shard: ShardId,
    /// Why it cannot move now.
    pub reason: String,
    /// The directive that works on it, if one does.
    pub directive: Option<DirectiveId>,
}

/// What the controller says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControllerStatus {
    /// Version of the program.
    pub version: String,
    /// The cluster; empty while none was found.
    pub cluster_id: String,
    /// Mode of autonomy.
    pub mode: crate::policy::Mode,
    /// Its term; zero while another controller holds the lease.
    pub term: Term,
    /// Whether it holds the lease.
    pub leads: bool,
    /// Version of the active policy.
    pub policy_version: u64,
    /// Nodes whose reports arrive.
    pub nodes: u32,
    /// Shards in the view.
    pub shards: u32,
    /// Age of the oldest node report in use, milliseconds.
    pub oldest_report_age_ms: Option<u64>,
    /// Report gaps seen since start.
    pub report_gaps: u64,
    /// Directives not yet final.
    pub open_directives: u32,
    /// Directives ever journaled, by final or present state.
    pub directives_by_state: Vec<(DirectiveState, u64)>,
    /// Freezes in force.
    pub freezes: Vec<Freeze>,
    /// Nodes being drained.
    pub drains: Vec<DrainStatus>,
    /// Which forecaster serves how many series: the champions.
    pub champions: Vec<(String, u32)>,
}
