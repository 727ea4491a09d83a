//! Fetching the whole shard map: at the start, when an error leaves the client without a route, and
//! in the background after a failure. Many that want one at once share one fetch.

use crate::{
    core::Core,
    failure::Failure,
    link::{node_service, open_channel},
};
use futures::future::join_all;
use isobar_api::{ApiError, ErrorCode, NodeId, proto};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{sync::Mutex, time::Instant};
use tonic::transport::Channel;

/// How long one node may take to send its map.
const ASK_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Shortest time between two refreshes in the background.
const BACKGROUND_PAUSE: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(crate) struct Refresher {
    turn: Mutex<()>,
    rounds: AtomicU64,
    in_background: AtomicBool,
}

/// A node or a seed address that can be asked.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) node: Option<NodeId>,
    pub(crate) channel: Channel,
}

impl Core {
    /// Fetches the map now, or joins a fetch that began after this call. Takes no longer than an
    /// operation may.
    pub(crate) async fn refresh(&self) -> Result<(), ApiError> {
        let limit = self.deadline(None);
        tokio::time::timeout_at(limit, self.refresh_in_turn()).await.unwrap_or_else(|_| {
            let message = "no node has sent its shard map in time";
            Err(ApiError::new(ErrorCode::Unreachable, message))
        })
    }

    async fn refresh_in_turn(&self) -> Result<(), ApiError> {
        let seen = self.refresher.rounds.load(SeqCst);
        let _turn = self.refresher.turn.lock().await;
        // Two rounds on: one that was under way when we came, and one that began later.
        if self.refresher.rounds.load(SeqCst) >= seen + 2 {
            return Ok(());
        }
        let result = self.refresh_from_anyone().await;
        self.refresher.rounds.fetch_add(1, SeqCst);
        result
    }

    /// Fetches the map of every healthy member and takes in the freshest of each entry: what a person
    /// is shown should not depend on which node was asked.
    pub(crate) async fn refresh_from_all(&self) -> Result<(), ApiError> {
        self.refresh().await?;
        let healthy = |source: &Source| source.node.is_some_and(|node| !self.way(node).suspect);
        let asked = self.sources().into_iter().filter(healthy);
        let answers = join_all(asked.map(|source| async move { self.refresh_from(&source).await }));
        for error in answers.await.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "one member was left out");
        }
        Ok(())
    }

    /// Starts a refresh in the background unless one is under way.
    pub(crate) fn refresh_soon(self: &Arc<Self>) {
        if self.refresher.in_background.swap(true, SeqCst) {
            return;
        }
        let core = self.clone();
        tokio::spawn(async move {
            if let Err(error) = core.refresh().await {
                tracing::debug!(%error, "shard map not refreshed");
            }
            tokio::time::sleep(BACKGROUND_PAUSE).await;
            core.refresher.in_background.store(false, SeqCst);
        });
    }

    async fn refresh_from_anyone(&self) -> Result<(), ApiError> {
        let mut last = None;
        for source in self.sources() {
            match self.refresh_from(&source).await {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ApiError::new(ErrorCode::Unreachable, "no node is known")))
    }

    async fn refresh_from(&self, source: &Source) -> Result<(), ApiError> {
        let mut service = node_service(source.channel.clone());
        let request = proto::ShardMapRequest::default();
        let response = within(Instant::now() + ASK_TIMEOUT, service.get_shard_map(request)).await;
        match response {
            Ok(response) => self.cache.absorb(response),
            Err(failure) => {
                self.note_failure(source, &failure);
                Err(describe(source, failure))
            }
        }
    }

    /// Everybody who can be asked: healthy members (closest first), then seeds, then the rest.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let mut members: Vec<_> =
            self.cache.members().into_iter().map(|m| (self.way(m.node_id), m)).collect();
        members.sort_by(|(a, m), (b, n)| {
            let far = |x: Option<f64>| x.unwrap_or(f64::INFINITY);
            far(a.known_ms).total_cmp(&far(b.known_ms)).then(m.node_id.cmp(&n.node_id))
        });
        let (bad, good): (Vec<_>, Vec<_>) = members.into_iter().partition(|(way, _)| way.suspect);
        let mut asked = BTreeSet::new();
        let mut sources = Vec::new();
        let mut add_member = |sources: &mut Vec<Source>, node: NodeId, address: String| {
            if asked.insert(address.clone())
                && let Ok(link) = self.link(node)
            {
                let name = format!("{node} ({address})");
                sources.push(Source { name, node: Some(node), channel: link.channel() });
            }
        };
        for (_, member) in good {
            add_member(&mut sources, member.node_id, member.address);
        }
        let known: BTreeSet<String> = self.cache.members().into_iter().map(|m| m.address).collect();
        for seed in self.config.seeds.iter().filter(|seed| !known.contains(*seed)) {
            if let Ok(channel) = open_channel(seed) {
                sources.push(Source { name: seed.clone(), node: None, channel });
            }
        }
        for (_, member) in bad {
            add_member(&mut sources, member.node_id, member.address);
        }
        sources
    }

    pub(crate) fn note_failure(&self, source: &Source, failure: &Failure) {
        if failure.is_transport()
            && let Some(node) = source.node
            && let Ok(link) = self.link(node)
        {
            link.suspect();
        }
    }
}

/// The error of a question to one node, with its name in front.
pub(crate) fn describe(source: &Source, failure: Failure) -> ApiError {
    let unreachable = failure.is_transport();
    let mut error = failure.into_error();
    if unreachable {
        error.code = ErrorCode::Unreachable;
        error.message = format!("no answer from {}: {}", source.name, error.message);
    }
    error
}

/// Awaits a call until the deadline.
pub(crate) async fn within<T>(
    deadline: Instant,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Failure> {
    match tokio::time::timeout_at(deadline, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Failure::from_status(&status, None)),
        Err(_) => Err(Failure::Lost("it did not answer in time".into())),
    }
}
