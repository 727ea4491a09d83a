//! `isobar soak`: a cluster under load for as long as one likes, while shards are cut and moved and processes are killed.
//!
//! ```text
//! cluster (nodes, controller) ◄─ faults        load ─► ledger (what is known of each key)
//!     └─► usage ─► growth                        └─► minutes ─► report
//! ```
//! At the end everything is killed at once and started, every acknowledged write is looked for, and memory and file
//! handles must have been flat over the second half.

mod cluster;
mod faults;
mod growth;
mod ledger;
mod load;
mod report;
mod usage;

use crate::{
    commands::soak::Soak,
    failure::{DONE, Exit, Failure, INTERRUPTED, Outcome},
    processes::stop_on_signal,
    screen::Screen,
};
use cluster::Cluster;
use faults::{Fault, Faults, Kind};
use isobar_api::{
    ApiError, ErrorCode,
    table::{AckLevel, TableRule, TableSpec},
};
use isobar_client::{Client, ClientConfig, ControllerClient};
use load::{Load, TABLE};
use nix::sys::signal::Signal;
use report::{Done, Injected, Report, minute_line};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use usage::Samples;

const LOOK_EVERY: Duration = Duration::from_millis(250);
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
/// No fault begins so shortly before the end.
const QUIET_END: Duration = Duration::from_secs(8);
/// Longest wait for the last answers.
const DRAIN_WITHIN: Duration = Duration::from_secs(15);
/// A shard that gets more than this share of the load is cut: the hot one once or twice a minute.
const SPLIT_SHARE: f64 = 0.45;
const CONTROLLER_TIMEOUT_MS: u64 = 3_000;
const DIRECTIVES_MAX: u32 = 500;

/// Runs the soak to its end, or until it is told to stop. No process is left in any case.
pub async fn run(args: Soak, screen: &mut Screen<'_>) -> Outcome {
    let stop = stop_on_signal()?;
    let mut cluster = Cluster::start(args.nodes, f64::from(args.rate) * SPLIT_SHARE)?;
    screen.say(&format!(
        "isobar soak: {} nodes and a controller under {}, {} operations/s, seed {}",
        args.nodes,
        cluster.folder(),
        args.rate,
        args.seed
    ));
    let soaked = tokio::select! {
        soaked = soak(&args, &mut cluster, screen) => soaked.map(Some),
        () = stop.cancelled() => Ok(None),
    };
    let whole = matches!(&soaked, Ok(Some(report)) if report.breaches.is_empty());
    let interrupted = matches!(soaked, Ok(None));
    // After a failure data and logs are what one wants to see.
    let keep = args.keep || !(whole || interrupted);
    let folder = cluster.folder();
    cluster.stop(keep).await;
    match soaked {
        Ok(Some(report)) => show(Report { kept: keep.then_some(folder), ..report }, screen),
        Ok(None) => {
            screen.say("interrupted; all processes are stopped");
            Ok(INTERRUPTED)
        }
        Err(error) => {
            screen.say(&format!("data and logs are kept in {folder}"));
            Err(error.into())
        }
    }
}

/// Text to stdout; or talk to stderr and one document in one line to stdout.
fn show(report: Report, screen: &mut Screen<'_>) -> Outcome {
    let text = report.text();
    if screen.json {
        screen.say(&text);
        let json = serde_json::to_string(&report).map_err(|why| {
            Failure::from(ApiError::new(ErrorCode::Internal, format!("making JSON: {why}")))
        })?;
        writeln!(screen.out, "{json}")?;
    } else {
        write!(screen.out, "{text}")?;
    }
    if report.breaches.is_empty() {
        return Ok(DONE);
    }
    screen.say(&format!("error: {}", report.breaches.join("; ")));
    Ok(Exit(1))
}

async fn soak(
    args: &Soak,
    cluster: &mut Cluster,
    screen: &mut Screen<'_>,
) -> Result<Report, ApiError> {
    cluster.start_all().await?;
    let seeds = cluster.seeds();
    let client = Client::connect(ClientConfig {
        request_timeout_ms: 20_000,
        ..ClientConfig::with_seeds(seeds.clone())
    });
    let client = client.await?;
    let rule =
        TableRule { regions: Vec::new(), replicas: 3, replicas_max: 4, ack: AckLevel::Majority };
    let (name, split_keys) = (TABLE.to_owned(), Vec::new());
    client.create_table(&TableSpec { name, rule, split_keys, placed_like: None }).await?;
    // Ends the workers also where this future is dropped.
    let stop = CancellationToken::new();
    let _stop_with_us = stop.clone().drop_guard();
    let load = Arc::new(Load::new(stop.clone()));
    let working = load.clone().run(seeds.clone(), Cluster::regions(), args.rate, args.seed);
    let working = tokio::spawn(working);
    let now = Instant::now();
    let mut conductor = Conductor {
        began: now,
        length: args.minutes,
        controller: ControllerClient::new(&cluster.controller(), CONTROLLER_TIMEOUT_MS)?,
        faults: Faults::new(args.seed, cluster.len(), Duration::from_secs(args.fault_every)),
        cluster,
        client,
        load: load.clone(),
        samples: Samples::default(),
        done: Done::default(),
        injected: Injected::default(),
        shards: 1,
        worst: [0.0; 2],
        failed: 0,
    };
    conductor.conduct(screen).await?;
    stop.cancel();
    match timeout(DRAIN_WITHIN, working).await {
        Ok(Ok(ended)) => ended?,
        Ok(Err(why)) => {
            return Err(ApiError::new(ErrorCode::Internal, format!("the load failed: {why}")));
        }
        // Whoever has no answer by then stays without one.
        Err(_) => {}
    }
    conductor.finish(args, &seeds, screen).await
}

/// What follows the load and lets things happen.
struct Conductor<'c> {
    began: Instant,
    length: Duration,
    cluster: &'c mut Cluster,
    client: Client,
    controller: ControllerClient,
    load: Arc<Load>,
    faults: Faults,
    samples: Samples,
    done: Done,
    injected: Injected,
    shards: usize,
    /// p99 of writes and reads in the worst minute, milliseconds.
    worst: [f64; 2],
    failed: u64,
}

impl Conductor<'_> {
    async fn conduct(&mut self, screen: &mut Screen<'_>) -> Result<(), ApiError> {
        let end = self.began + self.length;
        let mut next_fault = self.began + self.faults.pause();
        let mut next_sample = self.began;
        let mut minute_began = self.began;
        let mut under_way: Option<(Fault, Instant)> = None;
        while Instant::now() < end {
            self.cluster.check()?;
            let now = Instant::now();
            match under_way {
                Some((fault, until)) if now >= until => {
                    self.end_fault(fault).await?;
                    next_fault = Instant::now() + self.faults.pause();
                    under_way = None;
                }
                None if now >= next_fault && now + QUIET_END < end => {
                    let fault = self.faults.draw(now > self.began + self.length / 2);
                    self.begin_fault(fault).await?;
                    under_way = Some((fault, Instant::now() + fault.lasts));
                }
                _ => {}
            }
            if now >= next_sample {
                next_sample = now + SAMPLE_EVERY;
                self.sample().await;
            }
            if now >= minute_began + MINUTE {
                self.tell(screen, now - minute_began);
                minute_began = now;
            }
            sleep(LOOK_EVERY).await;
        }
        if let Some((fault, _)) = under_way {
            self.end_fault(fault).await?;
        }
        self.sample().await;
        self.tell(screen, minute_began.elapsed());
        Ok(())
    }

    async fn begin_fault(&mut self, fault: Fault) -> Result<(), ApiError> {
        tracing::info!(kind = ?fault.kind, who = self.cluster.name(fault.place), "fault");
        match fault.kind {
            Kind::Kill => {
                self.injected.kills += 1;
                self.cluster.kill(&[fault.place]).await
            }
            Kind::Stop => {
                self.injected.stops += 1;
                self.cluster.signal(fault.place, Signal::SIGSTOP);
                Ok(())
            }
        }
    }

    async fn end_fault(&mut self, fault: Fault) -> Result<(), ApiError> {
        match fault.kind {
            Kind::Kill => self.cluster.start_all().await,
            Kind::Stop => {
                self.cluster.signal(fault.place, Signal::SIGCONT);
                Ok(())
            }
        }
    }

    /// Looks at the processes, the shards and what the controller did. Who does not answer is asked again next time.
    async fn sample(&mut self) {
        let at_s = self.began.elapsed().as_secs_f64();
        for (name, pid) in self.cluster.running() {
            if let Some(usage) = usage::usage(pid) {
                self.samples.add(&name, at_s, pid, usage);
            }
        }
        let asked = async {
            tokio::join!(self.controller.directives(DIRECTIVES_MAX, None), self.client.shard_map())
        };
        let Ok((directives, shards)) = timeout(SAMPLE_EVERY / 2, asked).await else { return };
        if let Ok(directives) = directives {
            self.done.learn(&directives);
        }
        if let Ok(shards) = shards {
            self.shards = shards.len();
        }
    }

    fn tell(&mut self, screen: &mut Screen<'_>, length: Duration) {
        let minute = self.load.take_minute();
        self.worst[0] = self.worst[0].max(minute.write_p99_ms);
        self.worst[1] = self.worst[1].max(minute.read_p99_ms);
        self.failed += minute.failed;
        let line = minute_line(
            &minute,
            length.as_secs_f64(),
            self.samples.last(),
            self.shards,
            (&self.done, self.injected),
            self.load.ledger.wrong().0,
        );
        screen.say(&format!("[{:>5.0} s] {line}", self.began.elapsed().as_secs_f64()));
    }

    /// Kills everything at once, starts it, and reads every key.
    async fn finish(
        self,
        args: &Soak,
        seeds: &[String],
        screen: &mut Screen<'_>,
    ) -> Result<Report, ApiError> {
        let (reads_wrong, _) = self.load.ledger.wrong();
        screen.say(
            "the load has ended; everything is killed at once, started, and every key is read",
        );
        let all: Vec<usize> = (0..self.cluster.len()).collect();
        self.cluster.kill(&all).await?;
        self.cluster.start_all().await?;
        let lost = self.load.verify(seeds).await?;
        let report = Report {
            minutes: args.minutes.as_secs_f64() / 60.0,
            nodes: args.nodes,
            seed: args.seed,
            writes_acknowledged: self.load.ledger.acknowledged(),
            operations_failed: self.failed,
            keys: self.load.ledger.keys().len(),
            lost,
            reads_wrong,
            examples: self.load.ledger.wrong().1,
            shards: self.shards,
            done: self.done,
            injected: self.injected,
            write_p99_ms_max: self.worst[0],
            read_p99_ms_max: self.worst[1],
            processes: self.samples.judge(self.length.as_secs_f64() / 2.0),
            breaches: Vec::new(),
            kept: None,
        };
        Ok(Report { breaches: report.find_breaches(), ..report })
    }
}
