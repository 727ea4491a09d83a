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
const ANSWER_BYTES_MAX: u64 = 256 * 1_024;

/// Ready, or what it waits for.
pub(super) async fn readyz(address: SocketAddr) -> Result<(), String> {
    judge(&answered(address, "/readyz").await?)
}

/// One number of those at `/metrics`; of several with this name the first one.
pub(super) async fn metric(address: SocketAddr, name: &str) -> Result<f64, String> {
    let answer = answered(address, "/metrics").await?;
    number(&answer, name).ok_or_else(|| format!("{address} has no metric {name}"))
}

async fn answered(address: SocketAddr, path: &str) -> Result<String, String> {
    match timeout(ANSWER_WITHIN, ask(address, path)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(why)) => Err(format!("{address}: {why}")),
        Err(_) => Err(format!("{address} does not answer")),
    }
}

fn number(metrics: &str, name: &str) -> Option<f64> {
    let of = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let rest = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        rest.strip_prefix(' ')?.split(' ').next()?.trim().parse().ok()
    };
    metrics.lines().find_map(of)
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
    fn a_number_is_found_by_its_whole_name() {
        let metrics = "# TYPE isobar_replicas gauge\nisobar_replicas_leading{node=\"1\"} 4\r\nisobar_replicas{node=\"1\"} 12.5\r\n";
        assert_eq!(number(metrics, "isobar_replicas"), Some(12.5));
        assert_eq!(number("isobar_x 3", "isobar_x"), Some(3.0));
        assert_eq!(number(metrics, "isobar_repl"), None);
    }

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
