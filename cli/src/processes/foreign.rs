//! Programs of others: found through `PATH`, and ended with their parent although they know nothing of it.

use isobar_api::{ApiError, ErrorCode};
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// The program takes the shell's place and keeps its process id. What stays behind reads the stdin that the parent
/// holds open; at its end, however the parent went, it kills the program.
const GUARD: &str = r#"exec 3<&0
(cat <&3 >/dev/null; kill -9 $$ 2>/dev/null) &
exec 3<&- "$@" </dev/null"#;

/// Where a program is, or what to install.
pub fn find_program(name: &str) -> Result<PathBuf, ApiError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    places.find(|place| place.is_file()).ok_or_else(|| {
        let message = format!("the program `{name}` is not installed, or not in PATH");
        ApiError::new(ErrorCode::MissingProgram, message)
    })
}

/// A command that runs the program with the arguments that are added to it.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, "sh"]).arg(program);
    for (name, _) in std::env::vars_os() {
        // etcd would take its settings from there.
        if name.to_string_lossy().starts_with("ETCD_") {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{process::Stdio, time::Duration};
    use tokio::time::timeout;

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = find_program("no-such-program").expect_err("nobody has it");
        assert_eq!(error.code, ErrorCode::MissingProgram);
        assert!(error.message.contains("`no-such-program`"), "{error}");
    }

    #[tokio::test]
    async fn a_program_keeps_its_arguments_and_ends_with_our_end_of_its_stdin() {
        let sleep = find_program("sleep").expect("everybody has it");
        let mut child = command(&sleep)
            .arg("1000")
            .process_group(0)
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a shell");
        let id = child.id().expect("it runs");
        let stdin = child.stdin.take();
        let named = async {
            while !std::fs::read(format!("/proc/{id}/cmdline"))
                .is_ok_and(|l| l.ends_with(b"sleep\x001000\0"))
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), named).await.expect("it takes the shell's place");
        assert!(child.try_wait().expect("ours").is_none());
        drop(stdin);
        let ended = timeout(Duration::from_secs(10), child.wait()).await.expect("it ends");
        assert!(!ended.expect("ours").success());
    }
}
