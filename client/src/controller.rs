//! Questions and orders of operators to the controller. The data path never needs any of this.

use crate::{
    cache::decode, config::check_address, failure::Failure, link::open_channel, refresh::within,
};
use isobar_api::{
    ApiError, DirectiveId, ErrorCode, NodeId, PlanId, ShardId, limits,
    plan::{
        ControllerStatus, DirectiveRecord, DrainAction, DrainStatus, Freeze, PlanRecord,
        PlanSummary,
    },
    policy::{Mode, PolicyState},
    proto::{self, controller_client::ControllerClient as Service},
};
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::Channel;

/// A connection to a controller. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct ControllerClient {
    service: Service<Channel>,
    address: String,
    timeout: Duration,
}

macro_rules! call {
    ($self:ident, $method:ident, $what:literal, $request:expr) => {{
        let mut service = $self.service.clone();
        let deadline = Instant::now() + $self.timeout;
        let answer = within(deadline, service.$method($request)).await;
        let document = answer.map_err(|failure| $self.explain(failure))?;
        decode($what, &document.json)
    }};
}

impl ControllerClient {
    /// Prepares a connection to `host:port`; nothing is sent before the first question.
    pub fn new(address: &str, timeout_ms: u64) -> Result<Self, ApiError> {
        check_address(address)?;
        let service = Service::new(open_channel(address)?)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        let timeout = Duration::from_millis(timeout_ms.clamp(1, limits::DEADLINE_MS_MAX));
        Ok(Self { service, address: address.into(), timeout })
    }

    /// Mode, term, view and counts.
    pub async fn status(&self) -> Result<ControllerStatus, ApiError> {
        call!(self, get_status, "the controller's status", proto::GetControllerStatusRequest {})
    }

    /// The newest plans first.
    pub async fn plans(&self, limit: u32) -> Result<Vec<PlanSummary>, ApiError> {
        call!(self, list_plans, "the list of plans", proto::ListPlansRequest { limit })
    }

    /// One plan with everything that led to it and came of it.
    pub async fn plan(&self, plan: PlanId) -> Result<PlanRecord, ApiError> {
        call!(self, get_plan, "the plan", proto::GetPlanRequest { plan_id: plan.0 })
    }

    /// The newest directives first; of one shard, if given.
    pub async fn directives(
        &self,
        limit: u32,
        shard: Option<ShardId>,
    ) -> Result<Vec<DirectiveRecord>, ApiError> {
        let request = proto::ListDirectivesRequest::of(shard, limit);
        call!(self, list_directives, "the list of directives", request)
    }

    /// One directive with its history.
    pub async fn directive(&self, directive: DirectiveId) -> Result<DirectiveRecord, ApiError> {
        let request = proto::GetDirectiveRequest { directive_id: directive.0 };
        call!(self, get_directive, "the directive", request)
    }

    /// Changes the mode of autonomy.
    pub async fn set_mode(
        &self,
        mode: Mode,
        owner: &str,
        reason: &str,
    ) -> Result<ControllerStatus, ApiError> {
        let request = proto::SetModeRequest {
            mode: mode.to_string(),
            owner: owner.into(),
            reason: reason.into(),
        };
        call!(self, set_mode, "the controller's status", request)
    }

    /// Freezes a scope for a time.
    pub async fn pause(
        &self,
        scope: &str,
        reason: &str,
        owner: &str,
        seconds: u64,
    ) -> Result<Freeze, ApiError> {
        let request = proto::PauseRequest {
            scope: scope.into(),
            reason: reason.into(),
            owner: owner.into(),
            seconds,
        };
        call!(self, pause, "the freeze", request)
    }

    /// Lifts the freezes of a scope; returns them.
    pub async fn resume(&self, scope: &str, owner: &str) -> Result<Vec<Freeze>, ApiError> {
        let request = proto::ResumeRequest { scope: scope.into(), owner: owner.into() };
        call!(self, resume, "the lifted freezes", request)
    }

    /// Approves or rejects a directive that waits for a person.
    pub async fn decide(
        &self,
        directive: DirectiveId,
        approve: bool,
        owner: &str,
        reason: &str,
    ) -> Result<DirectiveRecord, ApiError> {
        let request = proto::DecideRequest {
            directive_id: directive.0,
            approve,
            owner: owner.into(),
            reason: reason.into(),
        };
        call!(self, decide, "the directive", request)
    }

    /// Starts to empty a node, or goes on.
    pub async fn drain(&self, node: NodeId, owner: &str) -> Result<DrainStatus, ApiError> {
        self.drain_action(node, DrainAction::Start, owner).await
    }

    /// Stops emptying a node.
    pub async fn cancel_drain(&self, node: NodeId, owner: &str) -> Result<DrainStatus, ApiError> {
        self.drain_action(node, DrainAction::Cancel, owner).await
    }

    /// How far the emptying of a node has come.
    pub async fn drain_status(&self, node: NodeId) -> Result<DrainStatus, ApiError> {
        self.drain_action(node, DrainAction::Status, "").await
    }

    /// All nodes that are being emptied or are empty.
    pub async fn drains(&self) -> Result<Vec<DrainStatus>, ApiError> {
        let request = proto::DrainRequest::of(None, DrainAction::Status, "");
        call!(self, drain, "the list of drains", request)
    }

    async fn drain_action(
        &self,
        node: NodeId,
        action: DrainAction,
        owner: &str,
    ) -> Result<DrainStatus, ApiError> {
        let request = proto::DrainRequest::of(Some(node), action, owner);
        call!(self, drain, "the drain's status", request)
    }

    /// The active policy.
    pub async fn policy(&self) -> Result<PolicyState, ApiError> {
        call!(self, policy, "the policy", proto::PolicyRequest::question())
    }

    /// Replaces the policy; with `dry_run` only validates and compares.
    pub async fn set_policy(
        &self,
        policy_toml: &str,
        dry_run: bool,
        owner: &str,
    ) -> Result<PolicyState, ApiError> {
        let request = proto::PolicyRequest::of(policy_toml, dry_run, owner);
        call!(self, policy, "the policy", request)
    }

    fn explain(&self, failure: Failure) -> ApiError {
        match failure {
            Failure::NotSent(why) => {
                let message = format!("no controller answers at {}: {why}", self.address);
                ApiError::new(ErrorCode::Unreachable, message)
            }
            Failure::Lost(why) => {
                let message = format!("the controller at {} did not answer: {why}", self.address);
                ApiError::new(ErrorCode::DeadlineExceeded, message)
            }
            other => other.into_error(),
        }
    }
}
