//! Nodes and controllers as real processes below this one: started, watched, stopped; none is left behind.
//!
//! A child's stdin is a pipe that its parent holds open and never writes to. Its end means that the
//! parent is gone, however it went, and the child stops (`--exit-with-parent`). So even a parent that
//! was killed with -9 leaves no process. Programs of others are made to do the same, see `foreign`.

mod foreign;
mod parent;
mod ports;
mod probe;
mod settings;
mod signals;

pub use foreign::find_program;
pub use parent::exit_with_parent;
pub use ports::{check_free, free_addresses};
pub use settings::{controller_toml, node_toml};
pub use signals::stop_on_signal;

use crate::failure::file_error;
use isobar_api::{ApiError, ErrorCode};
use nix::{sys::signal::Signal, unistd::Pid};
use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    process::{Child, ChildStdin, Command},
    time::{Instant, sleep, timeout},
};

/// How much of a log an error shows.
const LOG_TAIL_BYTES: u64 = 2_048;
const LOG_TAIL_LINES: usize = 8;
/// Between two looks at a process that is starting.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// What to start.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// Its name, for people: `node n2`.
    pub name: String,
    /// Another program; none: this one again.
    pub program: Option<PathBuf>,
    /// Its arguments; of this program: a subcommand and its options.
    pub args: Vec<OsString>,
    /// Where stdout and stderr go; appended to.
    pub log: PathBuf,
    /// Where it listens; this program answers `/readyz` there.
    pub address: SocketAddr,
}

impl ProcessSpec {
    /// `isobar SUBCOMMAND --config FILE`, ending with its parent.
    pub fn of_config(
        name: &str,
        command: &str,
        config: &Path,
        log: PathBuf,
        address: SocketAddr,
    ) -> Self {
        let args = [command.into(), "--config".into(), config.into(), "--exit-with-parent".into()];
        Self { name: name.into(), program: None, args: args.into(), log, address }
    }
}

/// A process that was started here. Dropped without [`Process::stop`], it is killed.
#[derive(Debug)]
pub struct Process {
    spec: ProcessSpec,
    child: Child,
    /// Kept open as long as the child shall live.
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts it.
    pub fn start(spec: ProcessSpec) -> Result<Self, ApiError> {
        let mut command = match &spec.program {
            Some(program) => foreign::command(program),
            None => Command::new(std::env::current_exe().map_err(|why| {
                ApiError::new(ErrorCode::Internal, format!("this program's path: {why}"))
            })?),
        };
        let log = open_log(&spec.log)?;
        let copy = log.try_clone().map_err(|why| file_error(&spec.log, &why))?;
        command.args(&spec.args).stdin(Stdio::piped()).stdout(log).stderr(copy);
        // A group of its own: Ctrl-C reaches the parent alone, which then stops its children in order.
        command.process_group(0).kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            // What is meant for the parent's own command must not change the child's configuration.
            if name.to_string_lossy().starts_with("ISOBAR_") {
                command.env_remove(name);
            }
        }
        let mut child = command.spawn().map_err(|why| {
            ApiError::new(ErrorCode::Internal, format!("{} does not start: {why}", spec.name))
        })?;
        let stdin = child.stdin.take();
        Ok(Self { spec, child, stdin })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        // An error means that it was waited for already: it cannot be, nobody else knows it.
        self.child.try_wait().ok().flatten()
    }

    /// An error with the end of its log, if it has ended.
    pub fn check(&mut self) -> Result<(), ApiError> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(self.died(status)),
        }
    }

    /// Waits until `/readyz` answers 200.
    pub async fn wait_ready(&mut self, limit: Duration) -> Result<(), ApiError> {
        let address = self.spec.address;
        self.wait_until(limit, || probe::readyz(address)).await
    }

    /// One number of those that it shows at `/metrics`.
    pub async fn metric(&self, name: &str) -> Result<f64, ApiError> {
        let found = probe::metric(self.spec.address, name).await;
        found.map_err(|why| ApiError::new(ErrorCode::Unreachable, why))
    }

    /// Waits until a probe finds nothing any more that it waits for.
    pub async fn wait_until<P: Future<Output = Result<(), String>>>(
        &mut self,
        limit: Duration,
        mut probe: impl FnMut() -> P,
    ) -> Result<(), ApiError> {
        let deadline = Instant::now() + limit;
        loop {
            self.check()?;
            let waits_for = match probe().await {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            if Instant::now() >= deadline {
                let (name, seconds) = (&self.spec.name, limit.as_secs());
                let message =
                    format!("{name} is not ready after {seconds} s: {waits_for}{}", self.tail());
                return Err(ApiError::new(ErrorCode::Unavailable, message));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Asks it to stop with SIGTERM, and kills it after the grace time. Returns how it ended.
    pub async fn stop(mut self, grace: Duration) -> Option<ExitStatus> {
        self.signal(Signal::SIGTERM);
        self.wait_or_kill(grace).await
    }

    /// Sends a signal; nothing happens if it has ended.
    pub fn signal(&self, signal: Signal) {
        // The id is given only while the child is not waited for, so it cannot be another process's.
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = nix::sys::signal::kill(Pid::from_raw(id), signal);
        }
    }

    async fn wait_or_kill(&mut self, grace: Duration) -> Option<ExitStatus> {
        self.stdin = None;
        if let Ok(ended) = timeout(grace, self.child.wait()).await {
            return ended.ok();
        }
        tracing::warn!(process = self.spec.name, "it did not stop in time and is killed");
        let _ = self.child.start_kill();
        self.child.wait().await.ok()
    }

    fn died(&self, status: ExitStatus) -> ApiError {
        let tail = self.tail();
        let message = format!("{} ended early ({status}){tail}", self.spec.name);
        let code = match status.signal() {
            // Whatever its log ends with was not about this.
            Some(_) => ErrorCode::Unavailable,
            None => last_error(&tail).unwrap_or(ErrorCode::Internal),
        };
        ApiError::new(code, message)
    }

    fn tail(&self) -> String {
        match log_tail(&self.spec.log) {
            Ok(tail) if !tail.is_empty() => {
                format!("; the end of {}:\n{tail}", self.spec.log.display())
            }
            _ => format!("; its log is {}", self.spec.log.display()),
        }
    }
}

/// Stops all of them: the signal goes to every one first, so that they stop side by side.
pub async fn stop_all(processes: impl IntoIterator<Item = Process>, grace: Duration) {
    let mut processes: Vec<Process> = processes.into_iter().collect();
    for process in &processes {
        process.signal(Signal::SIGTERM);
    }
    let deadline = Instant::now() + grace;
    for process in &mut processes {
        process.wait_or_kill(deadline.saturating_duration_since(Instant::now())).await;
    }
}

fn open_log(path: &Path) -> Result<File, ApiError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|why| file_error(path, &why))
}

/// The code that a process ended with, by its own words: see [`crate::screen::Screen::fail`].
fn last_error(log: &str) -> Option<ErrorCode> {
    let codes =
        log.lines().filter_map(|line| line.trim().strip_prefix("error ")?.split(':').next());
    codes.filter_map(ErrorCode::parse).next_back()
}

fn log_tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<&str> = text.lines().collect();
    if length > LOG_TAIL_BYTES && lines.len() > 1 {
        // The first one is cut.
        lines.remove(0);
    }
    let from = lines.len().saturating_sub(LOG_TAIL_LINES);
    Ok(lines[from..].iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_tail_of_a_log_is_its_last_whole_lines() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        for line in 0..500 {
            writeln!(file, "line {line}").expect("room");
        }
        let tail = log_tail(file.path()).expect("it reads");
        assert_eq!(tail.lines().count(), LOG_TAIL_LINES);
        assert!(tail.starts_with("    line 492\n") && tail.ends_with("line 499"), "{tail}");
        assert!(log_tail(Path::new("no/such/log")).is_err());
    }

    #[test]
    fn a_process_gives_its_own_code_for_its_end() {
        let log = "    WARN s1: ISO-2004: no leader\n    error ISO-3006: in use\n      next: stop ISO-1001\n";
        assert_eq!(last_error(log), Some(ErrorCode::DirectoryLocked));
        assert_eq!(last_error("    WARN s1: ISO-2004: no leader"), None);
    }

    #[test]
    fn a_child_is_told_its_config_and_to_end_with_us() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let spec =
            ProcessSpec::of_config("node n1", "node", Path::new("a.toml"), "a.log".into(), address);
        assert_eq!(spec.args, ["node", "--config", "a.toml", "--exit-with-parent"]);
    }
}
