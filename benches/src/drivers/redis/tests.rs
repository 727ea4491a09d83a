use super::*;
use std::{collections::BTreeMap, time::Duration};
use tokio::{net::TcpListener, time::timeout};

/// A server that knows SET, GET and WAIT; `WAIT` is answered with this number of replicas.
async fn server(replicas_found: i64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut rows = BTreeMap::<String, String>::new();
        let (mut tcp, _) = listener.accept().await.expect("a client");
        tcp.set_nodelay(true).expect("it is TCP");
        let mut seen = String::new();
        loop {
            let mut bytes = [0; 7];
            let Ok(read @ 1..) = tcp.read(&mut bytes).await else { return };
            seen.push_str(std::str::from_utf8(&bytes[..read]).expect("tests write text"));
            while let Some(words) = command(&mut seen) {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let reply = match words.as_slice() {
                    ["SET", "bad", _] => "-ERR no room\r\n".to_owned(),
                    ["SET", key, value] => {
                        rows.insert((*key).into(), (*value).into());
                        "+OK\r\n".to_owned()
                    }
                    ["GET", key] => match rows.get(*key) {
                        Some(value) => format!("${}\r\n{value}\r\n", value.len()),
                        None => "$-1\r\n".to_owned(),
                    },
                    ["WAIT", ..] => format!(":{replicas_found}\r\n"),
                    other => panic!("{other:?}"),
                };
                tcp.write_all(reply.as_bytes()).await.expect("the client reads");
            }
        }
    });
    address
}

/// Takes the first whole command.
fn command(seen: &mut String) -> Option<Vec<String>> {
    let mut lines = seen.split_inclusive("\r\n").filter(|line| line.ends_with("\r\n"));
    let count: usize = lines.next()?.trim().strip_prefix('*')?.parse().ok()?;
    let lines: Vec<&str> = lines.take(2 * count).collect();
    if lines.len() < 2 * count {
        return None;
    }
    let words = lines.iter().skip(1).step_by(2).map(|word| word.trim().to_owned()).collect();
    let used = seen.find("\r\n").expect("one line") + 2;
    *seen = seen[used + lines.iter().map(|line| line.len()).sum::<usize>()..].to_owned();
    Some(words)
}

async fn connect(pipelined: bool, replicas: u8, found: i64) -> RedisDriver {
    let options = RedisOptions { pipelined, replicas };
    RedisDriver::connect(server(found).await, options).await.expect("it listens")
}

#[tokio::test]
async fn every_task_gets_its_own_answer() {
    for (pipelined, replicas) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let driver = std::sync::Arc::new(connect(pipelined, replicas, 1).await);
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..300 {
            let driver = driver.clone();
            tasks.spawn(async move {
                let (key, value) = (Bytes::from(format!("k{n}")), Bytes::from(format!("v{n}")));
                assert_eq!(driver.get(key.clone()).await, Ok(None));
                driver.put(key.clone(), value.clone()).await.expect("room");
                assert_eq!(driver.get(key).await, Ok(Some(value)));
                assert!(driver.put("bad".into(), "".into()).await.is_err());
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.expect("its own answers");
        }
    }
}

#[tokio::test]
async fn a_write_that_too_few_replicas_have_does_not_count() {
    for pipelined in [false, true] {
        let driver = connect(pipelined, 2, 1).await;
        let error = driver.put("k".into(), "v".into()).await.expect_err("one of two");
        assert!(error.message.contains("1 of 2 replicas"), "{error}");
        assert_eq!(driver.get("k".into()).await, Ok(Some("v".into())), "the order is kept");
    }
}

#[tokio::test]
async fn a_lost_connection_and_a_request_given_up_are_errors_not_hangs() {
    for pipelined in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let options = RedisOptions { pipelined, replicas: 0 };
        let driver = RedisDriver::connect(address, options).await.expect("it listens");
        let (tcp, _) = listener.accept().await.expect("a client");
        let unanswered = timeout(Duration::from_millis(50), driver.get("k".into())).await;
        assert!(unanswered.is_err(), "nobody answers");
        drop(tcp);
        let get = timeout(Duration::from_secs(5), driver.get("k".into()));
        assert!(get.await.expect("no hang").is_err());
    }
}
