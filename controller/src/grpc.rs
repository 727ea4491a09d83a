//! The `Controller` service of the protocol, with health and reflection.

use crate::{error::Error, service::ControllerHandle};
use isobar_api::{
    ApiError, DirectiveId, ErrorCode, NodeId, PlanId, ShardId, limits,
    proto::{
        self, DecideRequest, DrainRequest, GetControllerStatusRequest, GetDirectiveRequest,
        GetPlanRequest, JsonDocument, ListDirectivesRequest, ListPlansRequest, PauseRequest,
        PolicyRequest, ResumeRequest, SetModeRequest,
        controller_server::{Controller, ControllerServer},
    },
};
use serde::Serialize;
use tonic::{Request, Response, Status, service::Routes};

/// The routes of every gRPC service of the controller.
pub(crate) async fn router(handle: ControllerHandle) -> axum::Router {
    let service = ControllerServer::new(ControllerGrpc { handle })
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<ControllerServer<ControllerGrpc>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were made by our own build");
    Routes::new(service).add_service(health).add_service(reflection).into_axum_router()
}

#[derive(Clone, Debug)]
struct ControllerGrpc {
    handle: ControllerHandle,
}

type Answer = Result<Response<JsonDocument>, Status>;

fn answer<T: Serialize>(result: Result<T, ApiError>) -> Answer {
    let json = serde_json::to_vec(&result?).map_err(Error::document("an answer"));
    let json = json.map_err(ApiError::from)?;
    Ok(Response::new(JsonDocument { json: json.into() }))
}

#[tonic::async_trait]
impl Controller for ControllerGrpc {
    async fn get_status(&self, _: Request<GetControllerStatusRequest>) -> Answer {
        answer(self.handle.status().await)
    }

    async fn list_plans(&self, request: Request<ListPlansRequest>) -> Answer {
        answer(self.handle.plans(request.into_inner().limit).await)
    }

    async fn get_plan(&self, request: Request<GetPlanRequest>) -> Answer {
        answer(self.handle.plan(PlanId(request.into_inner().plan_id)).await)
    }

    async fn list_directives(&self, request: Request<ListDirectivesRequest>) -> Answer {
        let request = request.into_inner();
        let shard = Some(ShardId(request.shard_id)).filter(|s| s.0 != 0);
        answer(self.handle.directives(request.limit, shard).await)
    }

    async fn get_directive(&self, request: Request<GetDirectiveRequest>) -> Answer {
        answer(self.handle.directive(DirectiveId(request.into_inner().directive_id)).await)
    }

    async fn set_mode(&self, request: Request<SetModeRequest>) -> Answer {
        let request = request.into_inner();
        let mode = request.mode.parse()?;
        answer(self.handle.set_mode(mode, &request.owner, &request.reason).await)
    }

    async fn pause(&self, request: Request<PauseRequest>) -> Answer {
        let PauseRequest { scope, reason, owner, seconds } = request.into_inner();
        answer(self.handle.pause(&scope, &reason, &owner, seconds).await)
    }

    async fn resume(&self, request: Request<ResumeRequest>) -> Answer {
        let ResumeRequest { scope, owner } = request.into_inner();
        answer(self.handle.resume(&scope, &owner).await)
    }

    async fn decide(&self, request: Request<DecideRequest>) -> Answer {
        let DecideRequest { directive_id, approve, owner, reason } = request.into_inner();
        answer(self.handle.decide(DirectiveId(directive_id), approve, &owner, &reason).await)
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Answer {
        let DrainRequest { node_id, action, owner } = request.into_inner();
        let node = NodeId(node_id);
        match action.as_str() {
            "start" => answer(self.handle.start_drain(node, &owner).await),
            "cancel" => answer(self.handle.cancel_drain(node, &owner).await),
            "status" if node_id == 0 => answer(Ok(self.handle.drains())),
            "status" => answer(self.handle.drain(node)),
            other => {
                let why = format!("`{other}` is not an action: start, cancel or status");
                Err(ApiError::new(ErrorCode::InvalidArgument, why).into())
            }
        }
    }

    async fn policy(&self, request: Request<PolicyRequest>) -> Answer {
        let PolicyRequest { policy_toml, dry_run, owner } = request.into_inner();
        // Nothing is given and nobody gives it: a question. An empty file is a policy, all defaults.
        if policy_toml.is_empty() && owner.is_empty() {
            return answer(Ok(self.handle.policy()));
        }
        let bad = |_| ApiError::new(ErrorCode::BadPolicy, "the policy is not UTF-8 text");
        let text = std::str::from_utf8(&policy_toml).map_err(bad)?;
        answer(self.handle.set_policy(text, dry_run, &owner).await)
    }
}
