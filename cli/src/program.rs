//! From the arguments of the process to its exit code.

use crate::{
    args::{Cli, Command, Format},
    commands,
    failure::{Exit, Failure, Outcome},
    screen::Screen,
};
use clap::Parser;
use isobar_api::{ApiError, ErrorCode};
use std::{
    io::IsTerminal,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The most that is waited for background tasks at the end.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(2);

/// The whole program: reads the process's arguments and returns its exit code.
pub fn main() -> ExitCode {
    let mut cli = Cli::parse();
    cli.global.drop_empty();
    let mut out = std::io::stdout().lock();
    // Not locked: log lines of a running node share stderr.
    let mut err = std::io::stderr();
    let dumb = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
    let terminal = err.is_terminal() && !cli.global.plain && !dumb;
    let choice = anstream::AutoStream::choice(&err);
    let mut screen = Screen {
        colour: !cli.global.plain && choice != anstream::ColorChoice::Never && err.is_terminal(),
        terminal,
        prompt_follows: std::io::stdout().is_terminal(),
        json: cli.global.output == Format::Json,
        now_unix_ms: now_unix_ms(),
        out: &mut out,
        err: &mut err,
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        runtime.worker_threads(worker_threads());
    }
    let runtime = runtime.enable_all().build();
    let exit = match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(run(cli, &mut screen));
            // Work in the background has nothing left to tell. But what it holds must be gone before the process ends: a
            // database that is still open then meets RocksDB's statics half destroyed, and the process aborts.
            runtime.shutdown_timeout(SHUTDOWN_WITHIN);
            exit
        }
        Err(error) => {
            let message = format!("the runtime does not start: {error}");
            screen.fail(&ApiError::new(ErrorCode::Internal, message));
            Exit(1)
        }
    };
    ExitCode::from(exit.0)
}

/// Runs one command and shows its error, if it has one.
async fn run(cli: Cli, screen: &mut Screen<'_>) -> Exit {
    let on_error = match &cli.command {
        Command::Policy(policy) => policy.exit_on_error(),
        _ => Exit(1),
    };
    let ended = match dispatch(cli, screen).await {
        // What does not end with a line break is still in memory, and the disk may be full.
        Ok(exit) => screen.out.flush().map(|()| exit).map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    match ended {
        Ok(exit) => exit,
        Err(Failure::OutputClosed) => Exit(0),
        Err(Failure::Api(error)) => {
            screen.fail(&error);
            on_error
        }
    }
}

async fn dispatch(cli: Cli, screen: &mut Screen<'_>) -> Outcome {
    let global = &cli.global;
    match cli.command {
        Command::Demo(args) => commands::demo::run(args, global, screen).await,
        Command::Up(args) => commands::up::run(args, global, screen).await,
        Command::Node(args) => commands::node::run(args, global, screen).await,
        Command::Controller(args) => commands::controller::run(args, global, screen).await,
        Command::Kv(verb) => commands::kv::run(verb, global, screen).await,
        Command::Table(verb) => commands::table::run(verb, global, screen).await,
        Command::Shard(verb) => commands::shard::run(verb, global, screen).await,
        Command::NodeList => commands::node_list::run(global, screen).await,
        Command::NodeDrain(args) => commands::node_drain::run(args, global, screen).await,
        Command::Plan(verb) => commands::plan::run(verb, global, screen).await,
        Command::Pause(args) => commands::pause::run(args, global, screen).await,
        Command::Resume(args) => commands::resume::run(args, global, screen).await,
        Command::Mode(args) => commands::mode::run(args, global, screen).await,
        Command::Policy(verb) => commands::policy::run(verb, global, screen).await,
        Command::Config(verb) => commands::config::run(verb, global, screen),
        Command::Dataset(verb) => commands::dataset::run(verb, screen),
        Command::Model(verb) => commands::model::run(verb, global, screen).await,
        Command::Soak(args) => commands::soak::run(args, global, screen).await,
        Command::Bench(verb) => commands::bench::run(verb, global, screen).await,
        Command::Completions(args) => commands::completions::run(args, screen),
    }
}

fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |duration| duration.as_millis() as u64)
}

/// Half of the cores: the log's flusher, RocksDB and the kernel's network have work of their own, and on few cores fewer
/// threads hand work to each other less often.
fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2).max(1)
}
