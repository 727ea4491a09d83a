//! What all handles of one client share: cache, links, session, limits.

use crate::{
    cache::Cache,
    config::ClientConfig,
    failure::Failure,
    lane::{Answer, Job, LaneKind},
    link::Link,
    refresh::Refresher,
    room::{RetryBudget, Rooms},
    route::Way,
    session::Session,
    throttle::LastRefusal,
};
use isobar_api::{ApiError, ErrorCode, NodeId, TableId};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, sleep_until},
};

pub(crate) struct Core {
    pub(crate) config: ClientConfig,
    pub(crate) cache: Cache,
    pub(crate) session: Arc<Session>,
    pub(crate) refresher: Refresher,
    links: Mutex<BTreeMap<NodeId, Arc<Link>>>,
    rooms: Rooms,
    /// Of requests to nodes that have too much to do.
    pub(crate) retries: RetryBudget,
    last_refusal: LastRefusal,
}

impl Core {
    pub(crate) fn new(config: ClientConfig) -> Result<Arc<Self>, ApiError> {
        config.validate()?;
        Ok(Arc::new(Self {
            cache: Cache::default(),
            session: Session::new(rand::random()),
            refresher: Refresher::default(),
            links: Mutex::default(),
            rooms: Rooms::new(config.max_in_flight, config.queue_max),
            retries: RetryBudget::new(config.overload_retry_percent),
            last_refusal: LastRefusal::default(),
            config,
        }))
    }

    /// Refuses a part of the operations that the leader of the key's shard would refuse, before they cost anything.
    pub(crate) fn admit(&self, table: TableId, key: &[u8], kind: LaneKind) -> Result<(), ApiError> {
        // Looking up whom it concerns costs as much as all the rest of a read here.
        if !self.last_refusal.matters() {
            return Ok(());
        }
        let link = self.cache.leader_of(table, key).and_then(|leader| {
            let links = self.links.lock().expect("no code panics while it holds this lock");
            links.get(&leader).cloned()
        });
        link.map_or(Ok(()), |link| link.taken(kind).admit())
    }

    /// Room for one more operation; waits for it until the deadline, if not too many wait already.
    pub(crate) async fn enter(
        &self,
        kind: LaneKind,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, ApiError> {
        let permit = self.rooms.enter(kind, deadline).await?;
        self.retries.earn();
        Ok(permit)
    }

    /// The connection to a member; made when first needed, and anew when its address changed.
    pub(crate) fn link(&self, node: NodeId) -> Result<Arc<Link>, Failure> {
        let Some(address) = self.cache.member(node, |m| m.address.clone()) else {
            return Err(Failure::NotSent(format!("the address of {node} is not known")));
        };
        let mut links = self.links.lock().expect("no code panics while it holds this lock");
        if let Some(link) = links.get(&node)
            && link.address == address
        {
            return Ok(link.clone());
        }
        let stamp = self.cache.stamp();
        let link = Link::open(node, &address, &self.config, stamp).map_err(Failure::Answered)?;
        links.insert(node, link.clone());
        Ok(link)
    }

    /// What is known of the way to a node.
    pub(crate) fn way(&self, node: NodeId) -> Way {
        let links = self.links.lock().expect("no code panics while it holds this lock");
        let link = links.get(&node).cloned();
        drop(links);
        let home = self.config.region.as_ref();
        let member = self.cache.member(node, |m| (m.alive, m.region.clone()));
        let (alive, region) = match member {
            Some((alive, region)) => (alive, Some(region)),
            None => (false, None),
        };
        let known_ms = home
            .zip(region.as_ref())
            .filter(|_| !self.config.distances().is_empty())
            .and_then(|(a, b)| self.config.distances().get(a, b));
        Way {
            suspect: !alive || link.as_ref().is_some_and(|l| l.is_suspect()),
            known_ms,
            own_region: home.is_some() && home == region.as_ref(),
            measured_ms: link.and_then(|l| l.measured_ms()),
        }
    }

    /// Sends one item to a node, over the emulated distance where there is one.
    pub(crate) async fn exchange(
        &self,
        node: NodeId,
        kind: LaneKind,
        job: Job,
    ) -> Result<Answer, Failure> {
        let link = self.link(node)?;
        let deadline = job.deadline;
        let half = self.emulated_half(node);
        if half.is_zero() {
            return self.noted(link.send(kind, job).await);
        }
        let arrival = Instant::now() + half;
        if arrival >= deadline {
            sleep_until(deadline).await;
            return Err(Failure::NotSent(format!("{node} is too far away for the deadline")));
        }
        sleep_until(arrival).await;
        let answer = self.noted(link.send(kind, job).await);
        let back = Instant::now() + half;
        sleep_until(back.min(deadline)).await;
        if back > deadline && answer.is_ok() {
            return Err(Failure::Lost(format!("{node} did not answer in time")));
        }
        answer
    }

    fn noted(&self, answer: Result<Answer, Failure>) -> Result<Answer, Failure> {
        if let Err(Failure::Answered(error)) = &answer
            && error.code == ErrorCode::Overloaded
        {
            self.last_refusal.is_now();
        }
        answer
    }

    fn emulated_half(&self, node: NodeId) -> Duration {
        let Some(wan) = &self.config.wan else {
            return Duration::ZERO;
        };
        let home = self.config.region.as_ref();
        let region = self.cache.region_of(node);
        match home.zip(region.as_ref()) {
            Some((a, b)) if a != b => {
                let rtt_ms = wan.rtt.get(a, b).unwrap_or(0.0).clamp(0.0, 60_000.0);
                Duration::from_micros((rtt_ms * 500.0) as u64)
            }
            _ => Duration::ZERO,
        }
    }

    /// The deadline of an operation that begins now.
    pub(crate) fn deadline(&self, timeout_ms: Option<u64>) -> Instant {
        let ms = timeout_ms.unwrap_or(self.config.request_timeout_ms);
        Instant::now() + Duration::from_millis(ms.clamp(1, isobar_api::limits::DEADLINE_MS_MAX))
    }
}
