//! The node's gRPC surface: thin; each call goes straight to the part that does it.

use crate::{
    catalog::{Catalog, META_TABLE},
    config::NodeConfig,
    directive::Directives,
    gossip::ShardHints,
    kv::KvService,
    registry::Registry,
    report::Reporter,
};
use futures::Stream;
use isobar_api::{
    ApiError, DirectiveId, ErrorCode, ShardEntry, Term,
    directive::StepEvent,
    proto::{
        AbortStepRequest, AbortStepResponse, CreateTableRequest, CreateTableResponse,
        ExecuteStepRequest, GetStatusRequest, GetStatusResponse, KvRequest, KvResponse,
        ListTablesRequest, ListTablesResponse, Member, ReportFrame, ShardMapRequest,
        ShardMapResponse, StepFrame, SubscribeReportsRequest, kv_server::Kv, node_server::Node,
    },
    report::NodeStatus,
    table::TableSpec,
};
use serde::Serialize;
use std::pin::Pin;
use tokio_stream::{StreamExt, wrappers::WatchStream};
use tonic::{Request, Response, Status, Streaming};

/// Serves clients, operators and the controller.
#[derive(Clone)]
pub(crate) struct NodeApi {
    pub(crate) config: NodeConfig,
    pub(crate) catalog: Catalog,
    pub(crate) registry: Registry,
    pub(crate) hints: ShardHints,
    pub(crate) directives: Directives,
    pub(crate) reporter: Reporter,
    pub(crate) kv: KvService,
}

type Frames<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl NodeApi {
    fn entries(&self, table: &str) -> Result<Vec<ShardEntry>, ApiError> {
        if table.is_empty() {
            return Ok(self.hints.all());
        }
        let table = self.catalog.by_name(table).ok_or_else(|| {
            ApiError::new(ErrorCode::NoSuchTable, format!("no table `{table}` is known here"))
        })?;
        Ok(self.hints.of_table(table.table_id))
    }

    fn members(&self) -> Vec<Member> {
        let mut members = self.registry.transport().members().all();
        for own in members.iter_mut().filter(|m| m.node_id == self.config.node_id) {
            own.load = self.reporter.load();
        }
        let member = |m: isobar_api::report::MemberInfo| Member {
            node_id: m.node_id.0,
            address: m.address,
            region: m.region.to_string(),
            zone: m.zone,
            alive: m.alive,
            load_json: json(&m.load),
        };
        members.into_iter().map(member).collect()
    }
}

fn json(value: &impl Serialize) -> bytes::Bytes {
    serde_json::to_vec(value).expect("plain data always encodes").into()
}

#[tonic::async_trait]
impl Kv for NodeApi {
    type ExecuteStream = Frames<KvResponse>;

    async fn execute(
        &self,
        request: Request<KvRequest>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let request = futures::stream::iter([request.into_inner()]);
        Ok(Response::new(Box::pin(self.kv.execute(request))))
    }

    type PipelineStream = Frames<KvResponse>;

    async fn pipeline(
        &self,
        requests: Request<Streaming<KvRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        // A stream that breaks ends: who asked is gone.
        let requests = requests.into_inner().map_while(Result::ok);
        Ok(Response::new(Box::pin(self.kv.execute(requests))))
    }
}

#[tonic::async_trait]
impl Node for NodeApi {
    type SubscribeReportsStream = Frames<ReportFrame>;
    type ExecuteStepStream = Frames<StepFrame>;

    async fn get_shard_map(
        &self,
        request: Request<ShardMapRequest>,
    ) -> Result<Response<ShardMapResponse>, Status> {
        let table = request.into_inner().table;
        if !table.is_empty() && self.catalog.by_name(&table).is_none() {
            // A table made a moment ago elsewhere, or this node has just started: look before saying no.
            self.catalog.refresh().await?;
        }
        let shards = self.entries(&table)?;
        Ok(Response::new(ShardMapResponse {
            cluster_id: self.registry.cluster_id().to_owned(),
            shards: shards.iter().map(Into::into).collect(),
            members: self.members(),
            tables_json: json(&self.catalog.tables()),
        }))
    }

    async fn create_table(
        &self,
        request: Request<CreateTableRequest>,
    ) -> Result<Response<CreateTableResponse>, Status> {
        let spec: TableSpec = serde_json::from_slice(&request.into_inner().spec_json)
            .map_err(|why| ApiError::new(ErrorCode::InvalidArgument, format!("table: {why}")))?;
        let info = self.catalog.create_table(&spec).await?;
        tracing::info!(table = spec.name, id = %info.table_id, "table ready");
        Ok(Response::new(CreateTableResponse { table_json: json(&info) }))
    }

    async fn list_tables(
        &self,
        _request: Request<ListTablesRequest>,
    ) -> Result<Response<ListTablesResponse>, Status> {
        self.catalog.refresh().await?;
        let mut tables = self.catalog.tables();
        tables.retain(|t| t.table_id != META_TABLE);
        tables.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        Ok(Response::new(ListTablesResponse { tables_json: json(&tables) }))
    }

    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let members = self.registry.transport().members();
        let status = NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_id: self.registry.cluster_id().to_owned(),
            node_id: self.config.node_id,
            region: self.config.region.clone(),
            engine: self.registry.state_engine().name().to_owned(),
            started_unix_ms: self.reporter.started_unix_ms(),
            controller_term: self.directives.term(),
            load: self.reporter.load(),
            replicas: self.reporter.latest_replicas(),
            members: members.all(),
        };
        Ok(Response::new(GetStatusResponse { status_json: json(&status) }))
    }

    async fn subscribe_reports(
        &self,
        request: Request<SubscribeReportsRequest>,
    ) -> Result<Response<Self::SubscribeReportsStream>, Status> {
        let subscriber = request.into_inner().subscriber;
        tracing::info!(%subscriber, "reports are listened to");
        let reports = self.reporter.subscribe();
        let frames = reports.map(|report| Ok(ReportFrame { report_json: json(&report) }));
        Ok(Response::new(Box::pin(frames)))
    }

    async fn execute_step(
        &self,
        request: Request<ExecuteStepRequest>,
    ) -> Result<Response<Self::ExecuteStepStream>, Status> {
        let request = request.into_inner();
        let span = tracing::info_span!("execute_step");
        if !request.traceparent.is_empty() {
            // A trace that cannot be joined is no reason not to do the step.
            let _ = isobar_telemetry::trace_context::set_parent(&span, &request.traceparent);
        }
        let events = self.directives.execute(&request.order_json, &span);
        let mut ended = false;
        let events = WatchStream::new(events).take_while(move |event| {
            let go_on = !ended;
            ended = matches!(event, StepEvent::Done(_) | StepEvent::Refused { .. });
            go_on
        });
        let frames = events.map(|event| Ok(StepFrame { event_json: json(&event) }));
        Ok(Response::new(Box::pin(frames)))
    }

    async fn abort_step(
        &self,
        request: Request<AbortStepRequest>,
    ) -> Result<Response<AbortStepResponse>, Status> {
        let request = request.into_inner();
        let directive = DirectiveId(request.directive_id);
        let aborted = self.directives.abort(directive, Term(request.controller_term)).await;
        let was_running =
            aborted.map_err(|refusal| ApiError::new(ErrorCode::Refused, refusal.to_string()))?;
        Ok(Response::new(AbortStepResponse { was_running }))
    }
}
