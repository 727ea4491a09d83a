//! Asks a process whether it is ready. One plain HTTP request; no client library for that.

use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// The value of a metric without labels of its own; none: it is not there, or nobody answers.
pub(super) async fn metric(address: SocketAddr, name: &str) -> Option<f64> {
    let answer = timeout(ANSWER_WITHIN, ask(address, "/metrics")).await.ok()?.ok()?;
    let mut lines = answer.lines();
    let line = lines.find(|line| line.strip_prefix(name).is_some_and(|l| l.starts_with('{')))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// Ready, or what it waits for.
pub(super) async fn readyz(address: SocketAddr) -> Result<(), String> {
    match timeout(ANSWER_WITHIN, ask(address, "/readyz")).await {
        Ok(Ok(answer)) => judge(&answer),
        Ok(Err(why)) => Err(format!("{address}: {why}")),
        Err(_) => Err(format!("{address} does not answer")),
    }
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn judge(answer: &str) -> Result<(), String> {
    if answer.split_whitespace().nth(1) == Some("200") {
        return Ok(());
    }
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    Err(if body.is_empty() { "no answer that can be read".into() } else { body.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_is_ready() {
        assert_eq!(judge("HTTP/1.1 200 OK\r\n\r\n{\"ready\":true}"), Ok(()));
        let waits = judge(
            "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"waiting\":{\"cluster\":\"starting\"}}",
        );
        assert!(waits.expect_err("not ready").contains("starting"));
        assert!(judge("").is_err());
    }
}
