//! `isobar demo`: real processes, a real trace, readers that wake and sleep; first the controller looks, then it acts.
//!
//! ```text
//! inputs ─► cluster (5 nodes, controller) ─► tables ─► load ─► meter ─► report
//!              workload (who reads what, when, from where) ─┘     └─ ledger (every write) ─┘
//! ```
//! Everything is asked through the client library and the controller's gRPC, as any user could.

mod cluster;
mod inputs;
mod ledger;
mod load;
mod meter;
mod report;
mod sites;
mod story;
mod tables;
mod talk;
mod workload;

use crate::{
    commands::demo::Demo,
    failure::{DONE, Exit, Failure, INTERRUPTED, Outcome},
    processes::stop_on_signal,
    screen::Screen,
};
use cluster::Cluster;
use inputs::Inputs;
use isobar_api::{
    ApiError, ErrorCode,
    plan::{ControllerStatus, DirectiveRecord},
    policy::Mode,
};
use isobar_client::{Client, ClientConfig, ControllerClient, TableHandle};
use isobar_datasets::geo::CompressedDay;
use ledger::{Ledger, Table};
use load::Load;
use meter::Interval;
use report::{Measured, Phases, Report};
use std::{sync::Arc, time::Duration};
use story::Story;
use talk::Talk;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use workload::Workload;

/// How long a day of the readers takes: a second is ten minutes, however long the run. Faster, and an arrival series
/// of a few reads a second could not be told from chance before the readers have moved on.
const DAY_LENGTH_MS: u64 = 144_000;
/// The part of the load in which the controller only looks.
const OBSERVE_SHARE: f64 = 0.25;
/// The load lasts at least this long, however long setting up took.
const LOAD_MIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Directives asked of the controller: all that it lists at once.
const DIRECTIVES_MAX: u32 = 500;
const CONTROLLER_TIMEOUT_MS: u64 = 5_000;

/// Runs the demo to its end, or until it is told to stop. No process is left in any case.
pub async fn run(args: Demo, screen: &mut Screen<'_>) -> Outcome {
    let began = Instant::now();
    let stop = stop_on_signal()?;
    let mut talk = Talk::new(screen, began);
    talk.line(
        "isobar demo: 5 node processes in 3 regions, a controller, and readers that wake and sleep",
    );
    let inputs = Arc::new(Inputs::read(&args)?);
    introduce(&inputs, &args, &mut talk);
    let mut cluster = Cluster::start(&inputs)?;
    let played = {
        let play = Play { args: &args, inputs, began, stop: stop.clone() };
        tokio::select! {
            played = play.run(&mut cluster, &mut talk) => played.map(Some),
            () = stop.cancelled() => Ok(None),
        }
    };
    talk.live("stopping".into());
    // After a failure the logs are what one wants to see.
    let keep = args.keep || played.is_err();
    let folder = cluster.folder().display().to_string();
    cluster.stop(keep).await;
    let screen = talk.end();
    match played {
        Ok(Some(report)) => show(&report, screen),
        Ok(None) => {
            screen.say("interrupted; all processes are stopped");
            Ok(INTERRUPTED)
        }
        Err(error) => {
            screen.say(&format!("logs and data are kept in {folder}"));
            Err(error.into())
        }
    }
}

fn introduce(inputs: &Inputs, args: &Demo, talk: &mut Talk<'_, '_>) {
    let writes = if inputs.writes_made {
        "reads only; every tenth access is made a write"
    } else {
        "its own writes"
    };
    talk.line(&format!(
        "trace {} ({} accesses, {} keys, {writes}), {} accesses/s, seed {}",
        inputs.trace,
        inputs.accesses.len(),
        inputs.keys,
        args.rate,
        args.seed
    ));
    let pairs = inputs.regions.iter().enumerate().flat_map(|(at, a)| {
        inputs.regions[at + 1..]
            .iter()
            .filter_map(move |b| Some(format!("{a}–{b} {:.0} ms", inputs.rtt.get(a, b)?)))
    });
    talk.line(&format!(
        "round trips ({}): {}",
        inputs.rtt_name,
        pairs.collect::<Vec<_>>().join(", ")
    ));
}

/// Text to stdout; or talk to stderr and one document to stdout.
fn show(report: &Report, screen: &mut Screen<'_>) -> Outcome {
    let text = report.text();
    if screen.json {
        screen.say(&text);
        let json = serde_json::to_string(report).map_err(|why| {
            Failure::from(ApiError::new(ErrorCode::Internal, format!("making JSON: {why}")))
        })?;
        writeln!(screen.out, "{json}")?;
    } else {
        write!(screen.out, "\n{text}")?;
    }
    if report.nothing_lost() {
        return Ok(DONE);
    }
    screen.say("error: not every acknowledged write could be found again");
    Ok(Exit(1))
}

/// One performance.
struct Play<'p> {
    args: &'p Demo,
    inputs: Arc<Inputs>,
    began: Instant,
    stop: CancellationToken,
}

/// The three moments of the load.
#[derive(Clone, Copy)]
struct Times {
    load: Instant,
    act: Instant,
    end: Instant,
    day: CompressedDay,
}

/// What is needed to follow what happens.
struct Watch<'w> {
    cluster: &'w mut Cluster,
    controller: ControllerClient,
    load: Arc<Load>,
    story: Story,
    times: Times,
    told: Instant,
    status: Option<ControllerStatus>,
    directives: Vec<DirectiveRecord>,
}

impl Play<'_> {
    async fn run(self, cluster: &mut Cluster, talk: &mut Talk<'_, '_>) -> Result<Report, ApiError> {
        let controller =
            ControllerClient::new(&cluster.controller.to_string(), CONTROLLER_TIMEOUT_MS)?;
        let (load, tables) = self.set_up(cluster, &controller, talk).await?;
        let times = self.times();
        let workload =
            Workload::new(self.inputs.clone(), times.day, self.args.rate as f64, self.args.seed);
        let sending = load.clone().run(
            workload,
            self.inputs.clone(),
            times.load,
            times.end,
            self.stop.clone(),
        );
        let sending = tokio::spawn(sending);
        talk.line("load begins; phase 1, observe: the controller looks and learns, nothing moves");
        let story = Story::new(cluster.homes());
        let told = Instant::now();
        let mut watch = Watch {
            cluster,
            controller,
            load,
            story,
            times,
            told,
            status: None,
            directives: Vec::new(),
        };
        watch.follow(talk, times.act, "observe").await?;
        watch.controller.set_mode(Mode::Act, "isobar demo", "phase 2").await?;
        watch.load.meter.act_from(micros_since(times.load));
        let acting = Instant::now();
        talk.line("phase 2, act: the controller carries out what it plans for orders; control stays frozen");
        watch.follow(talk, times.end, "act").await?;
        // A task that was aborted or panicked has told the meter all it will ever tell.
        let _ = sending.await;
        watch.look(talk).await;
        talk.line("load ends; reading every acknowledged write back");
        let (writes, unread) = tables::verify(&tables, &watch.load.ledger).await;
        if let Some(error) = unread {
            talk.line(&format!("some rows could not be read back: {error}"));
        }
        let phases = Phases {
            setup_s: (times.load - self.began).as_secs_f64(),
            observe_s: (acting - times.load).as_secs_f64(),
            act_s: (times.end - acting).as_secs_f64(),
        };
        let kept = self.args.keep.then(|| watch.cluster.folder().display().to_string());
        Ok(Report::new(Measured {
            args: self.args,
            inputs: &self.inputs,
            meter: &watch.load.meter,
            phases,
            mode: watch.status.as_ref().map_or(Mode::Act, |status| status.mode),
            champions: watch.status.map(|status| status.champions).unwrap_or_default(),
            directives: watch.directives,
            writes,
            kept,
        }))
    }

    /// From processes that start to two tables with rows.
    async fn set_up(
        &self,
        cluster: &mut Cluster,
        controller: &ControllerClient,
        talk: &mut Talk<'_, '_>,
    ) -> Result<(Arc<Load>, [TableHandle; 2]), ApiError> {
        talk.live("starting processes".into());
        cluster.ready().await?;
        let at = |region| {
            let ids = cluster
                .nodes
                .iter()
                .filter(move |node| &node.region == region)
                .map(|n| n.id.to_string());
            format!("{region} {}", ids.collect::<Vec<_>>().join(" "))
        };
        let places: Vec<String> = self.inputs.regions.iter().map(at).collect();
        talk.line(&format!("cluster is up: {}; controller in mode observe", places.join(", ")));
        let client = Client::connect(ClientConfig {
            request_timeout_ms: 20_000,
            ..ClientConfig::with_seeds(cluster.seeds())
        });
        let client = client.await?;
        let tables = tables::create(&client, &self.inputs).await?;
        tables::freeze(controller, Table::Control, self.args.seconds + 600).await?;
        talk.line(&format!(
            "tables control and orders: {} shards each, 3 replicas, placed by hash; control is frozen",
            inputs::SHARDS
        ));
        let ledger = Ledger::default();
        tables::fill(&tables, &self.inputs, &ledger).await?;
        let load = Load::connect(&self.inputs, &cluster.seeds(), cluster.homes(), ledger).await?;
        talk.line(&format!("{} rows written to each table", self.inputs.keys));
        Ok((Arc::new(load), tables))
    }

    fn times(&self) -> Times {
        let load = Instant::now();
        let end = (self.began + Duration::from_secs(self.args.seconds)).max(load + LOAD_MIN);
        let length = end - load;
        Times {
            load,
            act: load + length.mul_f64(OBSERVE_SHARE),
            end,
            day: CompressedDay { start_h: 0.0, day_length_ms: DAY_LENGTH_MS },
        }
    }
}

impl Watch<'_> {
    /// Shows what happens until a moment comes; fails if a process ends.
    async fn follow(
        &mut self,
        talk: &mut Talk<'_, '_>,
        until: Instant,
        phase: &str,
    ) -> Result<(), ApiError> {
        loop {
            let next = Instant::now() + LOOK_EVERY;
            self.cluster.check()?;
            self.look(talk).await;
            let hour = self.times.day.hour_at(micros_since(self.times.load) / 1_000) % 24.0;
            let clock = format!("{:02.0}:{:02.0} UTC", hour.floor(), (hour.fract() * 60.0).floor());
            if self.told.elapsed() >= TELL_EVERY {
                self.told = Instant::now();
                let (started, verified) = self.story.counts();
                let interval = interval_text(&self.load.meter.take_interval());
                talk.line(&format!(
                    "{phase} {clock}  {interval}  directives {started}, verified {verified}"
                ));
            }
            let left = self.times.end.saturating_duration_since(Instant::now()).as_secs();
            talk.live(format!("{phase} {clock}, {left} s of load to go"));
            if next >= until {
                sleep_until(until).await;
                return Ok(());
            }
            sleep_until(next).await;
        }
    }

    /// Asks the controller what it learned and did. An answer that does not come is asked for again at the next look.
    async fn look(&mut self, talk: &mut Talk<'_, '_>) {
        let (status, directives) = tokio::join!(
            self.controller.status(),
            self.controller.directives(DIRECTIVES_MAX, None)
        );
        match (status, directives) {
            (Ok(status), Ok(directives)) => {
                for line in self.story.go_on(&status, &directives) {
                    talk.line(&format!("  {line}"));
                }
                (self.status, self.directives) = (Some(status), directives);
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(%error, "the controller did not answer")
            }
        }
    }
}

fn interval_text(interval: &Interval) -> String {
    let mean =
        |table| interval.mean_ms.get(&table).map_or_else(|| "-".into(), |ms| format!("{ms:.0}"));
    let readers: Vec<String> = interval
        .readers
        .iter()
        .map(|(region, share)| format!("{region} {:.0} %", share * 100.0))
        .collect();
    format!(
        "mean read ms: control {}, orders {}  readers: {}",
        mean(Table::Control),
        mean(Table::Orders),
        readers.join(", ")
    )
}

fn micros_since(moment: Instant) -> u64 {
    u64::try_from(moment.elapsed().as_micros()).unwrap_or(u64::MAX)
}
