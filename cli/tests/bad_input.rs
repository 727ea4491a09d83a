//! Whatever is wrong outside: a clear error with a code, no panic, nothing acknowledged lost, and others go on.
//! All with the real binary. Keys and commands that never reach a cluster are in `program.rs`.

#[path = "bad_input/damage.rs"]
mod damage;
#[path = "bad_input/directory.rs"]
mod directory;
#[path = "bad_input/disk.rs"]
mod disk;
#[path = "bad_input/garbage.rs"]
mod garbage;
#[path = "bad_input/settings.rs"]
mod settings;
#[path = "bad_input/sizes.rs"]
mod sizes;
mod support;

use isobar_client::{ReadLevel, TableHandle};
use support::{cluster::Cluster, wait};

async fn open_table(cluster: &Cluster) -> TableHandle {
    cluster.shards("orders").await;
    cluster.client().await.table("orders").await.expect("the table is there")
}

fn row(number: usize) -> (String, String) {
    (format!("k{number:05}"), format!("{number}:{}", "v".repeat(1_000)))
}

async fn put_rows(table: &TableHandle, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let (key, value) = row(number);
        table.put(key, value).await.expect("acknowledged");
    }
}

async fn check_rows(table: &TableHandle, count: usize) {
    for number in 0..count {
        let (key, value) = row(number);
        let found =
            table.get(key.as_bytes(), ReadLevel::Linearizable).await.expect("it can be read");
        assert_eq!(found.map(|row| row.value), Some(value.into()), "{key} was acknowledged");
    }
}
