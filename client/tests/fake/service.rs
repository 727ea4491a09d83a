//! The gRPC side of the fake nodes.

use super::{Seen, State, lock, table};
use futures::{
    StreamExt, future,
    stream::{BoxStream, Empty, empty, iter},
};
use isobar_api::{ApiError, ErrorCode, NodeId, proto};
use proto::{kv_item::Op, kv_server::Kv, node_server};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tonic::{Request, Response, Status, Streaming};

#[derive(Clone)]
pub struct Node {
    pub node: NodeId,
    pub state: Arc<Mutex<State>>,
}

impl Node {
    fn check_up(&self) -> Result<(), Status> {
        // Without details, as when the transport breaks.
        match lock(&self.state).down.contains(&self.node) {
            true => Err(Status::unavailable("connection reset")),
            false => Ok(()),
        }
    }

    fn note(&self, request: &proto::KvRequest) {
        let write = |item: &proto::KvItem| match &item.op {
            Some(Op::Write(op)) => {
                Some((op.client_id.to_vec(), op.sequence, op.first_unacknowledged))
            }
            _ => None,
        };
        lock(&self.state).seen.push(Seen {
            node: self.node,
            items: request.items.len(),
            writes: request.items.iter().filter_map(write).collect(),
        });
    }

    /// Whoever serves at the address now: it may have become another cluster's since the stream was opened.
    fn check_cluster(&self, meant: Option<&[u8]>) -> Result<(), Status> {
        if meant.is_some_and(|id| id != lock(&self.state).cluster_id.as_bytes()) {
            return Err(ApiError::new(ErrorCode::Refused, "another cluster").into());
        }
        Ok(())
    }

    async fn answer(self, meant: Option<Vec<u8>>, request: proto::KvRequest) -> Answers {
        let begun = self.begin(meant.as_deref(), request).await;
        begun.unwrap_or_else(|status| iter([Err(status)]).boxed())
    }

    async fn begin(
        &self,
        meant: Option<&[u8]>,
        request: proto::KvRequest,
    ) -> Result<Answers, Status> {
        self.check_up()?;
        self.check_cluster(meant)?;
        self.note(&request);
        let work = lock(&self.state).work;
        tokio::time::sleep(work).await;
        let mut state = lock(&self.state);
        let writes = request.items.iter().any(|item| matches!(item.op, Some(Op::Write(_))));
        let late = Duration::from_millis(request.deadline_ms);
        let (mut quick, mut stuck) = (Vec::new(), Vec::new());
        for (at, item) in (request.first_item..).zip(request.items) {
            let is_stuck = state.stuck.contains(&item.shard_id);
            let result = state.item(self.node, item);
            let result = result.unwrap_or_else(|e| proto::kv_result::Result::Error(e.into()));
            let results = vec![proto::KvResult { result: Some(result), item: at }];
            let answers = if is_stuck { &mut stuck } else { &mut quick };
            answers.push(Ok(proto::KvResponse { results }));
        }
        // The last one first: the order of answers says nothing.
        quick.reverse();
        if writes && state.lose_answers > 0 {
            state.lose_answers -= 1;
            return Err(Status::unavailable("connection reset"));
        }
        let in_the_end = move |answer| async move {
            tokio::time::sleep(late).await;
            answer
        };
        Ok(iter(quick).chain(iter(stuck).then(in_the_end)).boxed())
    }
}

type Answers = BoxStream<'static, Result<proto::KvResponse, Status>>;

#[tonic::async_trait]
impl Kv for Node {
    type ExecuteStream = Answers;

    async fn execute(&self, _: Request<proto::KvRequest>) -> Result<Response<Answers>, Status> {
        absent()
    }

    type PipelineStream = Answers;

    async fn pipeline(
        &self,
        requests: Request<Streaming<proto::KvRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let meant = requests.metadata().get(proto::CLUSTER_HEADER);
        let meant = meant.map(|id| id.as_bytes().to_vec());
        self.check_cluster(meant.as_deref())?;
        self.check_up()?;
        let node = self.clone();
        let answers = requests
            .into_inner()
            .take_while(|request| future::ready(request.is_ok()))
            .filter_map(|request| future::ready(request.ok()))
            .map(move |request| node.clone().answer(meant.clone(), request))
            .buffer_unordered(1_000)
            .flatten_unordered(None);
        Ok(Response::new(answers.boxed()))
    }
}

fn absent<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in the fake"))
}

#[tonic::async_trait]
impl node_server::Node for Node {
    async fn get_shard_map(
        &self,
        _: Request<proto::ShardMapRequest>,
    ) -> Result<Response<proto::ShardMapResponse>, Status> {
        self.check_up()?;
        let mut state = lock(&self.state);
        state.map_requests += 1;
        let own = state.published_by.get(&self.node);
        let shards = own.or(state.published.as_ref()).unwrap_or(&state.shards);
        Ok(Response::new(proto::ShardMapResponse {
            cluster_id: state.cluster_id.clone(),
            shards: shards.iter().map(Into::into).collect(),
            members: state.members.clone(),
            tables_json: serde_json::to_vec(&[table()]).expect("plain data").into(),
        }))
    }

    async fn create_table(
        &self,
        request: Request<proto::CreateTableRequest>,
    ) -> Result<Response<proto::CreateTableResponse>, Status> {
        self.check_up()?;
        let spec = serde_json::from_slice(&request.into_inner().spec_json);
        match spec {
            Ok(spec) if table().spec == spec => {
                let table_json = serde_json::to_vec(&table()).expect("plain data").into();
                Ok(Response::new(proto::CreateTableResponse { table_json }))
            }
            _ => Err(ApiError::new(ErrorCode::TableExists, "the fake has one table").into()),
        }
    }

    async fn list_tables(
        &self,
        _: Request<proto::ListTablesRequest>,
    ) -> Result<Response<proto::ListTablesResponse>, Status> {
        absent()
    }

    async fn get_status(
        &self,
        _: Request<proto::GetStatusRequest>,
    ) -> Result<Response<proto::GetStatusResponse>, Status> {
        absent()
    }

    type SubscribeReportsStream = Empty<Result<proto::ReportFrame, Status>>;
    async fn subscribe_reports(
        &self,
        _: Request<proto::SubscribeReportsRequest>,
    ) -> Result<Response<Self::SubscribeReportsStream>, Status> {
        Ok(Response::new(empty()))
    }

    type ExecuteStepStream = Empty<Result<proto::StepFrame, Status>>;
    async fn execute_step(
        &self,
        _: Request<proto::ExecuteStepRequest>,
    ) -> Result<Response<Self::ExecuteStepStream>, Status> {
        Ok(Response::new(empty()))
    }

    async fn abort_step(
        &self,
        _: Request<proto::AbortStepRequest>,
    ) -> Result<Response<proto::AbortStepResponse>, Status> {
        absent()
    }
}
