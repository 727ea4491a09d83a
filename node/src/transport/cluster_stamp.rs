//! Every call between nodes names the sender's cluster, and so do the reads and writes of clients; a node of another
//! cluster refuses them. Node and shard numbers are the same in every cluster, so without this a node that was started
//! with another cluster's directory would vote and replicate in groups that are not its own, and a client's writes
//! could go to whatever cluster serves at an address by now.

use crate::registry::Registry;
use isobar_api::{ApiError, ErrorCode, proto::CLUSTER_HEADER};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};

/// Writes the cluster's id into each request.
#[derive(Clone)]
pub struct ClusterStamp(Option<MetadataValue<Ascii>>);

impl ClusterStamp {
    pub(super) fn new(cluster_id: Option<&String>) -> Self {
        Self(cluster_id.and_then(|id| id.parse().ok()))
    }
}

impl Interceptor for ClusterStamp {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(id) = &self.0 {
            request.metadata_mut().insert(CLUSTER_HEADER, id.clone());
        }
        Ok(request)
    }
}

/// The receiving side. A sender in no cluster yet, and a receiver in none, may go on: admission decides then.
pub(crate) fn refuse_strangers(
    registry: Registry,
) -> impl Fn(Request<()>) -> Result<Request<()>, Status> + Clone {
    move |request| check(registry.cluster_id(), request)
}

fn check(own: &str, request: Request<()>) -> Result<Request<()>, Status> {
    match request.metadata().get(CLUSTER_HEADER) {
        Some(theirs) if !own.is_empty() && theirs.as_bytes() != own.as_bytes() => {
            let message = "this node belongs to another cluster than the sender";
            Err(ApiError::new(ErrorCode::Refused, message).into())
        }
        _ => Ok(request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(cluster: Option<&str>) -> Request<()> {
        let cluster = cluster.map(str::to_owned);
        let stamped = ClusterStamp::new(cluster.as_ref()).call(Request::new(()));
        stamped.expect("stamping never refuses")
    }

    #[test]
    fn only_another_cluster_is_refused() {
        assert!(check("ours", stamped(Some("ours"))).is_ok());
        assert!(check("ours", stamped(None)).is_ok());
        assert!(check("", stamped(Some("theirs"))).is_ok());
        let refused = check("ours", stamped(Some("theirs"))).expect_err("another cluster");
        assert_eq!(ApiError::from_status(&refused).code, ErrorCode::Refused);
    }
}
