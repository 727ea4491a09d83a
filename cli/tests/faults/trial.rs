//! A cluster behind a network that can be cut, tables, and a recorder that writes and reads all the time.

use crate::{
    network::Network,
    record::{Record, now_unix_ms},
    recorder::{Orders, RecorderProcess},
    support::{
        cluster::{Cluster, Plan},
        leader::make_leader,
        process::free_address,
        wait, wait_until,
    },
    verdict::Verdict,
};
use isobar_api::{NodeId, table::AckLevel};
use std::{path::PathBuf, thread::sleep, time::Duration};

/// A table of a trial.
#[derive(Clone, Copy)]
pub struct TableOf {
    /// Its name.
    pub name: &'static str,
    /// Replicas of each shard.
    pub replicas: u8,
    /// When its writes are acknowledged.
    pub ack: AckLevel,
    /// Where it is cut; writers use the letters from `a` on.
    pub split_keys: &'static [&'static str],
}

/// The usual table: three replicas, three shards.
pub const ORDERS: TableOf =
    TableOf { name: "orders", replicas: 3, ack: AckLevel::Majority, split_keys: &["b", "c"] };

/// A running trial.
pub struct Trial {
    /// The nodes.
    pub cluster: Cluster,
    /// What is between them.
    pub network: Network,
    name: String,
    tables: Vec<TableOf>,
    recorder: Option<RecorderProcess>,
}

impl Trial {
    /// Starts everything; `writers` of each table write, readers read.
    pub fn start(name: &str, plan: Plan, tables: &[TableOf], writers: u64) -> Self {
        let mut network = Network::new(plan.regions.iter().map(|_| free_address()).collect());
        let regions = plan.regions.iter().take(3).map(ToString::to_string).collect();
        let plan = Plan { advertised: network.advertised().to_vec(), ..plan };
        let mut cluster = Cluster::prepare(plan);
        network.run(cluster.folder().to_owned(), cluster.addresses());
        cluster.start_all();
        wait(async {
            for table in tables {
                let TableOf { name, replicas, ack, split_keys } = *table;
                cluster.create_table_acked(name, replicas, ack, split_keys).await;
                cluster.shards(name).await;
            }
        });
        let orders = Orders {
            seeds: cluster.connect().split(',').map(Into::into).collect(),
            tables: tables.iter().map(|table| table.name.into()).collect(),
            record: record_path(&cluster),
            writers,
            regions,
            seed: 1,
        };
        let recorder = RecorderProcess::start(&orders, &cluster.folder().join("recorder.log"));
        let (name, recorder) = (name.to_owned(), Some(recorder));
        let trial = Self { cluster, network, name, tables: tables.to_vec(), recorder };
        trial.wait_for_acks(50);
        trial
    }

    /// Makes a node the leader of every shard.
    pub fn make_leader(&self, node: NodeId) {
        wait(async {
            for table in &self.tables {
                make_leader(&self.cluster, table.name, node).await;
            }
        });
    }

    /// What was recorded so far.
    pub fn record(&self) -> Record {
        Record::read(&record_path(&self.cluster))
    }

    /// Waits until so many more writes were acknowledged.
    pub fn wait_for_acks(&self, more: usize) {
        let path = record_path(&self.cluster);
        let acks = || if path.exists() { self.record().acks.len() } else { 0 };
        let before = acks();
        wait_until("acknowledged writes", || acks() >= before + more);
    }

    /// Brings a fault about, waits for writes to resume and for the fault's time, and ends it.
    pub fn during(
        &mut self,
        what: &str,
        lasts: Duration,
        begin: impl FnOnce(&mut Self),
        end: impl FnOnce(&mut Self),
    ) -> Span {
        begin(self);
        let began = now_unix_ms();
        sleep(lasts);
        end(self);
        let ended = now_unix_ms();
        self.wait_for_acks(100);
        let record = self.record();
        for table in &self.tables {
            let resumed = record.first_ack_after_ms(table.name, began);
            println!(
                "{}: {what} for {} ms: {}: first write after {resumed:?} ms, {} failed meanwhile",
                self.name,
                ended - began,
                table.name,
                record
                    .failures_between(began, ended)
                    .iter()
                    .filter(|line| line.contains(&format!(" {}/", table.name)))
                    .count(),
            );
        }
        Span { began, ended }
    }

    /// Ends the load and holds the record against what is there, table by table.
    pub fn end(mut self) -> Vec<(TableOf, Record, Verdict)> {
        self.recorder.take().expect("it runs until now").kill();
        self.network.heal();
        self.cluster.start_all();
        let tables = self.tables.clone();
        tables.into_iter().map(|table| (table, self.record(), self.verdict(table))).collect()
    }

    fn verdict(&self, table: TableOf) -> Verdict {
        let record = self.record();
        let verdict = wait(async {
            self.cluster.shards(table.name).await;
            let client = self.cluster.client().await;
            let handle = client.table(table.name).await.expect("the table is there");
            Verdict::of(&record, &handle).await
        });
        println!(
            "{}: {}: {} writes acknowledged, {} keys kept, {} lost, {} late",
            self.name,
            table.name,
            verdict.acknowledged,
            verdict.kept_keys,
            verdict.lost.len(),
            verdict.late.len(),
        );
        verdict
    }

    /// Ends it; nothing may be lost and no read may be wrong.
    pub fn end_without_loss(self) {
        let name = self.name.clone();
        for (table, record, verdict) in self.end() {
            println!(
                "{name}: {} linearizable and {} bounded reads, {} wrong; {} local reads, at most {} ms behind; {} failed",
                record.reads,
                record.bounded_reads,
                record.wrong.len(),
                record.local_reads,
                record.local_lag_ms_max,
                record.failures.len(),
            );
            assert!(verdict.acknowledged > 100, "too little was written to say anything");
            assert_eq!(verdict.lost, Vec::<String>::new(), "{}: writes are gone", table.name);
            assert_eq!(verdict.late, Vec::<String>::new(), "a read did not see them");
            assert_eq!(record.wrong, Vec::<String>::new(), "reads that nothing explains");
        }
    }
}

/// When a fault held, Unix milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// From.
    pub began: u64,
    /// To.
    pub ended: u64,
}

fn record_path(cluster: &Cluster) -> PathBuf {
    cluster.folder().join("record")
}
