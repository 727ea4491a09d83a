//! The child's side: when the parent is gone, so are we.

use std::{io::Read, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long stopping in order may take once the parent is gone; nobody is left to kill us.
const GRACE: Duration = Duration::from_secs(10);

/// Cancels `stop` when stdin ends. Reads in a thread of its own, which costs nothing while it waits.
pub fn exit_with_parent(stop: CancellationToken) {
    std::thread::spawn(move || {
        wait_for_end(std::io::stdin());
        stop.cancel();
        std::thread::sleep(GRACE);
        std::process::exit(1);
    });
}

fn wait_for_end(mut input: impl Read) {
    let mut ignored = [0; 64];
    loop {
        match input.read(&mut ignored) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind, Result};

    /// Answers in turn; a read beyond the last one is a panic.
    struct Answers(Vec<Result<usize>>);

    impl Read for Answers {
        fn read(&mut self, _: &mut [u8]) -> Result<usize> {
            self.0.remove(0)
        }
    }

    #[test]
    fn only_the_end_counts_not_what_is_written() {
        let mut input = Answers(vec![Ok(5), Err(ErrorKind::Interrupted.into()), Ok(1), Ok(0)]);
        wait_for_end(&mut input);
        assert!(input.0.is_empty(), "it returned before the end");
        wait_for_end(Answers(vec![Err(Error::other("gone"))]));
    }
}
