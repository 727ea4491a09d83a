//! A full disk. Needs a small file system, which only root may mount; otherwise these tests say so and do nothing.

use crate::{
    check_rows, open_table, row,
    support::{
        cluster::{Cluster, Plan},
        process::http_get,
    },
    wait,
};
use isobar_api::{ErrorCode, NodeId};
use isobar_client::{ReadLevel, TableHandle};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

const N1: NodeId = NodeId(1);

/// A file system in memory; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one, if that is allowed.
    fn mount(dir: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(dir).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "isobar-test"])
            .arg(dir)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir.to_owned()));
        }
        println!(
            "SKIPPED: a full disk cannot be tried here, because mounting a small file system is not allowed"
        );
        None
    }

    /// Frees space, as an operator would.
    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        let grown = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(grown.expect("mount runs").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A value that cannot be made smaller by compression, and large enough to fill a disk soon.
fn bulk(number: usize) -> Vec<u8> {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    let mut rng = StdRng::seed_from_u64(number as u64);
    (0..64 << 10).map(|_| rng.random()).collect()
}

fn bulk_key(number: usize) -> String {
    format!("bulk{number:05}")
}

async fn check_bulk(table: &TableHandle, count: usize) {
    for number in 0..count {
        let key = bulk_key(number);
        let found =
            table.get(key.as_bytes(), ReadLevel::Linearizable).await.expect("it can be read");
        assert!(found.is_some_and(|row| row.value == bulk(number)), "{key} was acknowledged");
    }
}

#[test]
fn a_full_disk_has_its_code_and_loses_nothing() {
    let mut cluster = Cluster::prepare(Plan::nodes(&["eu"]));
    let Some(disk) = SmallDisk::mount(&cluster.data_dir(N1), "size=24m") else { return };
    cluster.start_all();
    let acknowledged = wait(async {
        cluster.create_table("orders", 1, &[]).await;
        let table = open_table(&cluster).await.with_timeout_ms(5_000);
        let mut acknowledged = 0;
        loop {
            match table.put(bulk_key(acknowledged), bulk(acknowledged)).await {
                Ok(_) => acknowledged += 1,
                Err(error) => {
                    // It was in the log already, so nobody can say yet whether it counts.
                    assert_eq!(error.code, ErrorCode::DeadlineExceeded, "{error}");
                    assert!(error.message.contains("last: ISO-3002: "), "{error}");
                    break;
                }
            }
            assert!(acknowledged < 1_000, "the disk is never full");
        }
        let error = table.put("one more", "v").await.expect_err("still full");
        assert!(error.message.contains("ISO-3002"), "it stays this error: {error}");
        acknowledged
    });
    println!("the disk was full after {acknowledged} writes of 64 KiB");
    assert!(cluster.node(N1).is_running(), "a full disk is no reason to end");
    assert!(
        http_get(cluster.address(N1), "/livez")
            .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    );
    assert!(cluster.node(N1).said().contains("ISO-3002"), "the log says why");

    disk.grow("200m");
    cluster.stop_node(N1);
    cluster.start_all();
    wait(async {
        let table = open_table(&cluster).await;
        check_bulk(&table, acknowledged).await;
        table.put("one more", "v").await.expect("writes resume");
    });
    drop(cluster);
}

#[test]
fn one_full_disk_does_not_stop_a_shard_of_three() {
    let mut cluster = Cluster::prepare(Plan::nodes(&["eu", "us", "asia"]));
    let Some(disk) = SmallDisk::mount(&cluster.data_dir(N1), "size=16m") else { return };
    cluster.start_all();
    let count = 300;
    wait(async {
        cluster.create_table("orders", 3, &[]).await;
        let table = open_table(&cluster).await;
        for number in 0..count {
            table.put(bulk_key(number), bulk(number)).await.expect("two of three have room");
        }
        check_bulk(&table, count).await;
    });
    assert!(cluster.node(N1).is_running(), "a full disk is no reason to end");
    assert!(cluster.node(N1).said().contains("ISO-3002"), "the log says why");

    disk.grow("300m");
    cluster.stop_node(N1);
    cluster.start_all();
    wait(async {
        let table = open_table(&cluster).await;
        let (key, value) = row(0);
        table.put(key, value).await.expect("all three serve");
    });
    // With one of the others gone the majority needs the node that was full: it has caught up.
    cluster.kill_node(NodeId(2));
    wait(async {
        let table = open_table(&cluster).await;
        check_bulk(&table, count).await;
        check_rows(&table, 1).await;
        table.put("one more", "v").await.expect("the other two have it");
    });
    drop(cluster);
}
