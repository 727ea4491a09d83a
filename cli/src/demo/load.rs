//! Sends the load: every access to both tables at the same moment, from the reader's region, without waiting for
//! answers to earlier ones. Latency counts from the moment an access was meant to begin.

use super::{
    inputs::Inputs,
    ledger::{Ledger, Table, value_of},
    meter::{Meter, Sample},
    tables::{handles, key_of},
    workload::{Arrival, Workload},
};
use isobar_api::{ApiError, NodeId, Region};
use isobar_client::{Client, ClientConfig, ReadLevel, TableHandle, WanEmulation};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// Accesses under way at most; beyond that, the next one starts late, which its latency shows.
const UNDER_WAY_MAX: usize = 2_000;
/// Longest wait for one answer.
const ANSWER_WITHIN_MS: u64 = 8_000;
/// Between two attempts of the client on different replicas.
const ATTEMPT_WITHIN_MS: u64 = 3_000;
/// Longest wait for the last answers.
const DRAIN_WITHIN: Duration = Duration::from_secs(9);

/// What every access needs.
pub(super) struct Load {
    readers: BTreeMap<Region, [TableHandle; 2]>,
    homes: BTreeMap<NodeId, Region>,
    pub(super) meter: Meter,
    pub(super) ledger: Ledger,
}

impl Load {
    /// Connects one client in each region, as far away from the other regions as the matrix says.
    pub(super) async fn connect(
        inputs: &Inputs,
        seeds: &[String],
        homes: BTreeMap<NodeId, Region>,
        ledger: Ledger,
    ) -> Result<Self, ApiError> {
        let mut readers = BTreeMap::new();
        for region in &inputs.regions {
            let config = ClientConfig {
                region: Some(region.clone()),
                wan: Some(WanEmulation { rtt: inputs.rtt.clone() }),
                request_timeout_ms: ANSWER_WITHIN_MS,
                attempt_timeout_ms: ATTEMPT_WITHIN_MS,
                ..ClientConfig::with_seeds(seeds.to_vec())
            };
            let client = Client::connect(config).await?;
            readers.insert(region.clone(), handles(&client).await?);
        }
        Ok(Self { readers, homes, meter: Meter::new(), ledger })
    }

    /// Sends arrivals until `end` or until told to stop, then waits for the last answers.
    pub(super) async fn run(
        self: Arc<Self>,
        workload: Workload,
        inputs: Arc<Inputs>,
        began: Instant,
        end: Instant,
        stop: CancellationToken,
    ) {
        let mut under_way = JoinSet::new();
        for (count, arrival) in workload.enumerate() {
            let at = began + Duration::from_micros(arrival.at_us);
            if at >= end {
                break;
            }
            tokio::select! {
                () = sleep_until(at) => {}
                () = stop.cancelled() => break,
            }
            while under_way.try_join_next().is_some() {}
            if under_way.len() >= UNDER_WAY_MAX {
                under_way.join_next().await;
            }
            let shard = inputs.readers.neighbourhood_of(arrival.access.rank);
            // Which of the two tables is asked first changes every time.
            under_way.spawn(self.clone().access(arrival, shard, at, count % 2 == 0));
        }
        let drained = async { while under_way.join_next().await.is_some() {} };
        // Whoever has no answer by then stays without one; the record says so.
        let _ = timeout(DRAIN_WITHIN, drained).await;
    }

    async fn access(
        self: Arc<Self>,
        arrival: Arrival,
        shard: u64,
        at: Instant,
        control_first: bool,
    ) {
        let Some([control, orders]) = self.readers.get(&arrival.region) else { return };
        let both = [(Table::Control, control), (Table::Orders, orders)];
        let [first, second] = if control_first { both } else { [both[1], both[0]] };
        if arrival.access.write {
            tokio::join!(self.write(&arrival, first), self.write(&arrival, second));
        } else {
            tokio::join!(
                self.read(&arrival, shard, at, first),
                self.read(&arrival, shard, at, second)
            );
        }
    }

    async fn read(
        &self,
        arrival: &Arrival,
        shard: u64,
        at: Instant,
        (table, handle): (Table, &TableHandle),
    ) {
        let key = key_of(arrival.access.rank);
        let answer = handle.get(&key, ReadLevel::Linearizable).await;
        let latency = at.elapsed();
        // The leader that the client knows now is the one that answered: a wrong guess was corrected by the answer.
        let leader = handle.shard_of(&key).and_then(|entry| entry.leader);
        let served_in = leader.and_then(|node| self.homes.get(&node).cloned());
        let failed = !matches!(answer, Ok(Some(_)));
        if let Err(error) = answer {
            tracing::debug!(%error, table = table.name(), "a read failed");
        }
        self.meter.record(Sample {
            table,
            at_us: arrival.at_us,
            latency,
            reader: arrival.region.clone(),
            failed,
            served_in: served_in.filter(|_| !failed),
            shard,
            hour: arrival.hour,
        });
    }

    async fn write(&self, arrival: &Arrival, (table, handle): (Table, &TableHandle)) {
        let key = (table, arrival.access.rank);
        let id = self.ledger.begin(key);
        match handle.put(key_of(arrival.access.rank), value_of(id)).await {
            Ok(version) => self.ledger.acknowledge(key, id, version),
            Err(error) => tracing::debug!(%error, table = table.name(), "a write has no answer"),
        }
    }
}
