//! One process of the program.

use super::{program, text, wait_until};
use nix::{sys::signal::Signal, unistd::Pid};
use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

/// An address on loopback that is free for TCP and UDP.
pub fn free_address() -> SocketAddr {
    isobar_cli::processes::free_addresses(1).expect("a free port")[0]
}

/// A node or controller. Killed when dropped, and when this test's process ends however it ends.
pub struct Process {
    child: Child,
    log: PathBuf,
    address: SocketAddr,
}

impl Process {
    /// Starts a node or controller; its output is appended to `log`.
    pub fn start(
        args: &[OsString],
        log: &Path,
        address: SocketAddr,
        env: &[(String, String)],
    ) -> Self {
        let mut args = args.to_vec();
        args.push("--exit-with-parent".into());
        Self::launch(&args, log, address, env)
    }

    /// Starts a command that does not end with its parent by itself.
    pub fn start_alone(args: &[OsString], log: &Path, address: SocketAddr) -> Self {
        Self::launch(args, log, address, &[])
    }

    fn launch(
        args: &[OsString],
        log: &Path,
        address: SocketAddr,
        env: &[(String, String)],
    ) -> Self {
        let out = OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        let copy = out.try_clone().expect("a second handle");
        let mut command = program();
        command.args(args).envs(env.iter().cloned());
        command.stdin(Stdio::piped()).stdout(out).stderr(copy);
        let child = command.spawn().expect("the binary was just built");
        Self { child, log: log.to_owned(), address }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(id, signal).expect("it is our child");
    }

    /// Stops it in order.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_until(&format!("the end of {}", self.log.display()), || {
            ended = self.child.try_wait().expect("it is our child");
            ended.is_some()
        });
        ended.expect("just seen")
    }

    /// Waits until `/readyz` answers 200.
    pub fn wait_ready(&mut self) {
        let address = self.address;
        let log = self.log.clone();
        wait_until(&format!("readiness of {}", log.display()), || {
            assert!(self.is_running(), "it ended: {}", tail(&log));
            is_ready(address)
        });
    }

    /// Everything it said.
    pub fn said(&self) -> String {
        text(&std::fs::read(&self.log).expect("its log"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether `/readyz` answers 200 now.
pub fn is_ready(address: SocketAddr) -> bool {
    http_get(address, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// One plain HTTP request.
pub fn http_get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer)?;
    Ok(text(&answer))
}

/// The last lines of a log, for the message of a failed test.
pub fn tail(log: &Path) -> String {
    let mut said = Vec::new();
    let _ = File::open(log).and_then(|mut file| file.read_to_end(&mut said));
    let said = text(&said);
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
