//! Each client sends the next request when the last one was answered.

use super::{Samples, perform};
use crate::{drivers::Handle, work::Stream};
use std::time::Duration;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// After a failure: what is down must not be asked a hundred thousand times a second.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

pub(super) async fn run(handles: &[Handle], streams: Vec<Stream>, length: Duration) -> Samples {
    let end = Instant::now() + length;
    let mut clients = JoinSet::new();
    for (client, stream) in streams.into_iter().enumerate() {
        let handle = handles[client % handles.len()].clone();
        clients.spawn(one_client(handle, stream, length, end));
    }
    let mut all = Samples::new(length);
    while let Some(samples) = clients.join_next().await {
        all.merge(&samples.expect("a client neither panics nor is stopped"));
    }
    all
}

async fn one_client(handle: Handle, mut stream: Stream, length: Duration, end: Instant) -> Samples {
    let mut samples = Samples::new(length);
    let mut now = Instant::now();
    while now < end {
        let request = stream.draw();
        let (reads, sent) = (request.reads(), Instant::now());
        let result = perform(&*handle, request).await;
        now = Instant::now();
        let failed = result.is_err();
        samples.record(result, now - sent, reads, now <= end);
        if failed {
            sleep(AFTER_FAILURE).await;
            now = Instant::now();
        }
    }
    samples
}
