//! Real processes, `kill -9`, and a record kept outside: is every acknowledged write still there?
//!
//! `ISOBAR_CRASH_SECONDS` makes the random part longer, `ISOBAR_CRASH_SEED` chooses another one, `ISOBAR_CRASH_ROUNDS` kills
//! everything more often. What was seen, and how the
//! check itself was checked, is in `docs/src/reliability.md`.

#[path = "crash/record.rs"]
mod record;
#[path = "crash/recorder.rs"]
mod recorder;
mod support;
#[path = "crash/verdict.rs"]
mod verdict;

use isobar_api::NodeId;
use isobar_client::ReadLevel;
use isobar_node::config::EngineKind;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use record::{Record, now_unix_ms};
use recorder::{Orders, RecorderProcess};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use support::{
    cluster::{Cluster, Plan},
    wait,
};
use verdict::Verdict;

const REGIONS: [&str; 4] = ["eu", "us", "asia", "eu"];
const TABLE: &str = "orders";

/// Looks every second, moves at the slightest cause, and rests hardly ever.
const LIVELY: &str = "\
[observe]
window_s = 1
windows_min = 2
stale_after_s = 3
horizon_windows = 2
[balance]
gain_ms_min = 0.5
gain_share_min = 0.02
dwell_s = 2
moves_per_shard_hour = 1000
reads_per_s_min = 0.1
[split]
requests_per_s_max = 150.0
dwell_s = 5
[repair]
dead_after_s = 60
";

/// The other side of [`RecorderProcess`].
#[test]
#[ignore = "the other tests run it in a process of its own"]
fn recorder_process() {
    recorder::run();
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number")),
        Err(_) => default,
    }
}

fn start(plan: Plan) -> Cluster {
    let cluster = Cluster::start(plan);
    wait(async { cluster.create_table(TABLE, 3, &["c", "e", "g"]).await });
    cluster
}

fn record_path(cluster: &Cluster) -> PathBuf {
    cluster.folder().join("record")
}

fn start_recorder(cluster: &Cluster, seed: u64) -> RecorderProcess {
    let orders = Orders {
        seeds: cluster.connect().split(',').map(Into::into).collect(),
        tables: vec![TABLE.into()],
        record: record_path(cluster),
        writers: 8,
        regions: REGIONS[..3].iter().map(ToString::to_string).collect(),
        seed,
    };
    let recorder = RecorderProcess::start(&orders, &cluster.folder().join("recorder.log"));
    wait_for_acks(cluster, 20);
    recorder
}

/// Waits until so many more writes were acknowledged.
fn wait_for_acks(cluster: &Cluster, more: usize) {
    let acks = || {
        let path = record_path(cluster);
        if path.exists() { Record::read(&path).acks.len() } else { 0 }
    };
    let before = acks();
    support::wait_until("acknowledged writes", || acks() >= before + more);
}

fn verdict(cluster: &Cluster) -> (Record, Verdict) {
    let record = Record::read(&record_path(cluster));
    let verdict = wait(async {
        cluster.shards(TABLE).await;
        let table = cluster.client().await.table(TABLE).await.expect("the table is there");
        Verdict::of(&record, &table).await
    });
    (record, verdict)
}

fn assert_nothing_lost(name: &str, record: &Record, verdict: &Verdict) {
    println!(
        "{name}: {} writes acknowledged, {} keys kept, {} lost; {} linearizable and {} bounded reads, {} of all wrong; \
         {} local reads, at most {} ms behind; {} operations failed; slowest write {} ms",
        verdict.acknowledged,
        verdict.kept_keys,
        verdict.lost.len(),
        record.reads,
        record.bounded_reads,
        record.wrong.len(),
        record.local_reads,
        record.local_lag_ms_max,
        record.failures.len(),
        record.slowest_write_ms,
    );
    assert!(verdict.acknowledged > 100, "too little was written to say anything");
    assert_eq!(verdict.lost, Vec::<String>::new(), "acknowledged writes are gone");
    assert_eq!(verdict.late, Vec::<String>::new(), "a linearizable read did not see them");
    assert_eq!(record.wrong, Vec::<String>::new(), "reads that no order of the writes explains");
}

#[test]
fn random_kills_of_nodes_and_the_controller_lose_no_acknowledged_write() {
    let seed = setting("ISOBAR_CRASH_SEED", 1);
    let lasts = Duration::from_secs(setting("ISOBAR_CRASH_SECONDS", 25));
    let mut cluster = start(Plan { policy: Some(LIVELY.into()), ..Plan::nodes(&REGIONS) });
    let recorder = start_recorder(&cluster, seed);
    let mut rng = StdRng::seed_from_u64(seed);
    let began = Instant::now();
    let mut kills = [0, 0];
    while began.elapsed() < lasts {
        let down = Duration::from_millis(rng.random_range(300..1_500));
        let between = Duration::from_millis(rng.random_range(200..2_000));
        let victim = rng.random_range(0..=REGIONS.len() as u64);
        kills[usize::from(victim == 0)] += 1;
        // One at a time: the next one falls when this one is back.
        match victim {
            0 => {
                cluster.kill_controller();
                std::thread::sleep(down);
            }
            node => {
                cluster.kill_node(NodeId(node));
                std::thread::sleep(down);
            }
        }
        cluster.start_all();
        std::thread::sleep(between);
    }
    let plans = cluster.run(&["plan", "list", "-o", "json", "--limit", "500"]);
    recorder.kill();
    cluster.kill_all();
    cluster.start_all();
    let (record, verdict) = verdict(&cluster);
    let done = plans.matches("\"verified\"").count() + plans.matches("\"applied\"").count();
    println!(
        "seed {seed}: {} nodes and {} controllers killed; {done} directives done",
        kills[0], kills[1]
    );
    assert_nothing_lost("random kills", &record, &verdict);
    assert!(done > 0, "the controller did nothing: {plans}");
}

#[test]
fn writes_resume_without_a_leaders_node_and_nobody_misses_the_controller() {
    let mut cluster = start(Plan { policy: Some(LIVELY.into()), ..Plan::nodes(&REGIONS[..3]) });
    let recorder = start_recorder(&cluster, 1);

    let killed_at = now_unix_ms();
    cluster.kill_controller();
    wait_for_acks(&cluster, 300);
    let record = Record::read(&record_path(&cluster));
    let now = now_unix_ms();
    let acks = record.acks_between(killed_at, now);
    println!("without a controller: {acks} writes acknowledged in {} ms", now - killed_at);
    assert_eq!(record.failures_between(killed_at, now), Vec::<&str>::new(), "clients noticed");
    cluster.start_controller();

    let (reads_ms, writes_ms) = wait(async {
        let shard = cluster.shards(TABLE).await.remove(0);
        let leader = shard.leader.expect("shards() waits for it");
        let table = cluster.client().await.table(TABLE).await.expect("the table is there");
        table.put("a-resume", "before").await.expect("the leader lives");
        cluster.kill_node(leader);
        let began = Instant::now();
        let read = async {
            let row = table.get(b"a-resume", ReadLevel::Linearizable).await;
            let value = row.expect("reads resume").expect("it was acknowledged").value;
            (began.elapsed(), value)
        };
        let write = async {
            table.put("a-resume-too", "after").await.expect("writes resume");
            began.elapsed()
        };
        let ((reads, value), writes) = tokio::join!(read, write);
        assert_eq!(value, "before");
        cluster.start_node(leader);
        (reads.as_millis(), writes.as_millis())
    });
    println!(
        "a leader's node was killed: reads resumed after {reads_ms} ms, writes after {writes_ms} ms"
    );
    // The client would have gone on for 30 s: this is about whether they resume at all, the figure is printed.
    assert!(reads_ms.max(writes_ms) < 15_000, "reads {reads_ms} ms, writes {writes_ms} ms");

    cluster.start_all();
    recorder.kill();
    let (record, verdict) = verdict(&cluster);
    assert_nothing_lost("a leader's node", &record, &verdict);
}

/// All nodes die at once, again and again, under load. Only what was made durable before it was acknowledged survives that,
/// and whoever leads afterwards must know how far the one before had come. Ends early when something is wrong.
fn kill_everything(rounds: u64, plan: Plan) -> (Record, Verdict) {
    let mut cluster = start(plan);
    let mut round = 0;
    loop {
        let recorder = start_recorder(&cluster, round);
        wait_for_acks(&cluster, 300);
        cluster.kill_all();
        recorder.kill();
        cluster.start_all();
        let (record, verdict) = verdict(&cluster);
        round += 1;
        if round == rounds || !verdict.lost.is_empty() || !verdict.late.is_empty() {
            return (record, verdict);
        }
    }
}

#[test]
fn killing_all_nodes_at_once_loses_no_acknowledged_write() {
    let rounds = setting("ISOBAR_CRASH_ROUNDS", 3);
    let (record, verdict) = kill_everything(rounds, Plan::nodes(&REGIONS[..3]));
    assert_nothing_lost("all nodes at once", &record, &verdict);
}

/// The same on the other engine for disks; once, as the engine has tests of its own with a process that is killed.
#[test]
fn killing_all_nodes_at_once_on_redb_loses_no_acknowledged_write() {
    let plan = Plan { engines: vec![EngineKind::Redb; 3], ..Plan::nodes(&REGIONS[..3]) };
    let (record, verdict) = kill_everything(1, plan);
    assert_nothing_lost("all nodes at once, on redb", &record, &verdict);
}

/// The same with a flusher that acknowledges before its fsync: if this loses nothing, the test above proves nothing.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_acknowledgement_before_fsync_is_caught() {
    let node_env = vec![("ISOBAR_PLANT_ACK_BEFORE_FSYNC".to_owned(), "1".to_owned())];
    let plan = Plan { node_env, no_panic: false, ..Plan::nodes(&REGIONS[..3]) };
    let (_, verdict) = kill_everything(1, plan);
    println!(
        "planted: {} writes acknowledged, {} keys kept, {} lost, such as: {:?}",
        verdict.acknowledged,
        verdict.kept_keys,
        verdict.lost.len(),
        verdict.lost.first(),
    );
    assert!(!verdict.lost.is_empty(), "the planted bug was not caught");
}
