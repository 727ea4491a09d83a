//! `isobar up`: a small durable cluster and its controller as real processes under one folder.

mod layout;

use crate::{
    commands::up::Up,
    failure::{DONE, Exit, Failure, Outcome, file_error},
    processes::{Process, ProcessSpec, check_free, stop_all, stop_on_signal},
    screen::Screen,
};
use isobar_api::{ApiError, ErrorCode};
use layout::{Layout, Part};
use serde::Serialize;
use std::{fmt::Write as _, net::SocketAddr, path::Path, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long the first start may take: nodes find each other, found the cluster, elect.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a process may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What was started, for `-o json`.
#[derive(Serialize)]
struct Started<'a> {
    data_dir: &'a Path,
    parts: Vec<StartedPart<'a>>,
}

#[derive(Serialize)]
struct StartedPart<'a> {
    name: &'a str,
    address: String,
    pid: Option<u32>,
    config: &'a Path,
    log: &'a Path,
}

/// Runs until it is told to stop, or until nothing runs any more.
pub async fn run(args: Up, screen: &mut Screen<'_>) -> Outcome {
    let stop = stop_on_signal()?;
    let layout = Layout::open(&args, port_is_free)?;
    let state = if layout.is_new { "new" } else { "as it was left" };
    screen.say(&format!("cluster under {} ({state}); starting", layout.root.display()));
    let mut processes = start(&layout)?;
    let ended = serve(&mut processes, &layout, &stop, screen).await;
    screen.say("stopping");
    stop_all(processes, GRACE).await;
    if ended.is_ok() {
        screen.say("stopped; `isobar up` starts the same cluster again");
    }
    ended
}

fn port_is_free(name: &str, address: SocketAddr) -> Result<(), ApiError> {
    check_free(address).map_err(|error| {
        let next =
            "is another `isobar up` running? --base-port and --data-dir make room for a second one";
        ApiError::new(error.code, format!("{name} needs its port: {}; {next}", error.message))
    })
}

async fn serve(
    processes: &mut Vec<Process>,
    layout: &Layout,
    stop: &CancellationToken,
    screen: &mut Screen<'_>,
) -> Outcome {
    if !ready(processes, stop).await? {
        return Ok(DONE);
    }
    announce(layout, processes, screen)?;
    watch(processes, layout, stop, screen).await
}

fn start(layout: &Layout) -> Result<Vec<Process>, ApiError> {
    let start = |part: &Part| {
        std::fs::create_dir_all(&part.data_dir).map_err(|why| file_error(&part.data_dir, &why))?;
        let mut spec = ProcessSpec::of_config(
            &part.name,
            part.command,
            &part.config,
            part.log.clone(),
            part.address,
        );
        // Wins over the file, so that a folder that was moved still finds its data.
        spec.args.extend(["--data-dir".into(), part.data_dir.clone().into()]);
        Process::start(spec)
    };
    layout.parts.iter().map(start).collect()
}

/// Waits for all of them; false: told to stop meanwhile.
async fn ready(processes: &mut [Process], stop: &CancellationToken) -> Result<bool, ApiError> {
    let all =
        futures::future::try_join_all(processes.iter_mut().map(|p| p.wait_ready(READY_WITHIN)));
    tokio::select! {
        all = all => all.map(|_| true),
        () = stop.cancelled() => Ok(false),
    }
}

fn announce(
    layout: &Layout,
    processes: &[Process],
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let parts = layout.parts.iter().zip(processes).map(|(part, process)| StartedPart {
        name: &part.name,
        address: part.address.to_string(),
        pid: process.id(),
        config: &part.config,
        log: &part.log,
    });
    let started = Started { data_dir: &layout.root, parts: parts.collect() };
    let options = client_options(layout);
    screen.show(&started, |started| {
        let mut text = String::new();
        for part in &started.parts {
            let pid = part.pid.map_or_else(|| "gone".into(), |pid| pid.to_string());
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{:<12}{:<18}pid {pid:<9}log {}",
                part.name,
                part.address,
                part.log.display()
            );
        }
        let _ = write!(
            text,
            "\nin another shell:\n  \
             isobar{options} table create orders --replicas 3 --ack majority\n  \
             isobar{options} kv put orders hello world\n  \
             isobar{options} kv get orders hello\n  \
             isobar{options} shard list\n  \
             isobar{options} plan list\n\
             Ctrl-C stops it; `isobar up` starts the same cluster again.\n"
        );
        text
    })?;
    screen.out.flush()?;
    Ok(())
}

/// What a client must be told where the ports are not the default ones.
fn client_options(layout: &Layout) -> String {
    let defaults = crate::config::ClientSettings::default();
    let mut options = String::new();
    let nodes: Vec<String> = layout.nodes().map(|part| part.address.to_string()).collect();
    if !nodes.contains(&defaults.connect[0]) {
        options.push_str(&format!(" --connect {}", nodes.join(",")));
    }
    let controller = layout.controller().address.to_string();
    if controller != defaults.controller {
        options.push_str(&format!(" --controller {controller}"));
    }
    options
}

/// Says when a process ends; the others go on. An error when the last one is gone.
async fn watch(
    processes: &mut Vec<Process>,
    layout: &Layout,
    stop: &CancellationToken,
    screen: &mut Screen<'_>,
) -> Outcome {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(DONE),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let mut left = Vec::new();
        for mut process in processes.drain(..) {
            let Some(status) = process.ended() else {
                left.push(process);
                continue;
            };
            let part = layout.parts.iter().find(|part| part.name == process.name());
            let again = part.map(|part| {
                let (config, data_dir) = (part.config.display(), part.data_dir.display());
                format!(
                    " To start it again: isobar {} --config '{config}' --data-dir '{data_dir}'",
                    part.command
                )
            });
            screen.say(&format!(
                "{} ended ({status}), its log is {}; the others go on.{}",
                process.name(),
                process.log().display(),
                again.unwrap_or_default(),
            ));
        }
        *processes = left;
        if processes.is_empty() {
            screen.fail(&ApiError::new(ErrorCode::Unavailable, "no process is left"));
            return Ok(Exit(1));
        }
    }
}
