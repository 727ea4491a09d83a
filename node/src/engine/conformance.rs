//! What every engine must do. One suite, run over each of them.

use super::{Engine, EngineRead, Page, Row, Scan, Space, WriteBatch, prefix_end};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

type Open<'a> = &'a mut dyn FnMut() -> Arc<dyn Engine>;
type Check = fn(Open<'_>);

/// Runs every check, each on a new store. `fresh` makes a store; what it returns opens that store, and is called again
/// only after the engine it gave before was dropped.
pub fn run_all<Opener: FnMut() -> Arc<dyn Engine>>(fresh: impl Fn() -> Opener) {
    let checks: [(&str, Check); 13] = [
        ("reads what was written", reads_what_was_written),
        ("last operation of a batch wins", last_operation_wins),
        ("synced batches survive a reopen", synced_batches_survive),
        ("batches are atomic for readers", batches_are_atomic),
        ("snapshots do not move", snapshots_do_not_move),
        ("a snapshot outlives its engine handle", snapshot_outlives_handle),
        ("delete_range ends before its end", delete_range_is_half_open),
        ("delete_range orders with puts of its batch", delete_range_orders),
        ("scans at the edges of byte order", scans_at_the_edges),
        ("pages continue without gap or repeat", pages_continue),
        ("large values", large_values),
        ("spaces are apart", spaces_are_apart),
        ("many writers and syncs", many_writers),
    ];
    for (name, check) in checks {
        eprintln!("conformance: {name}");
        check(&mut fresh());
    }
}

fn write(engine: &dyn Engine, fill: impl FnOnce(&mut WriteBatch)) {
    let mut batch = WriteBatch::new();
    fill(&mut batch);
    engine.write(batch).expect("write");
}

fn put(engine: &dyn Engine, key: &[u8], value: &[u8]) {
    write(engine, |batch| {
        batch.put(Space::Data, key, value);
    });
}

fn get(from: &(impl EngineRead + ?Sized), key: &[u8]) -> Option<Vec<u8>> {
    from.get(Space::Data, key).expect("get")
}

fn keys(from: &(impl EngineRead + ?Sized), scan: &Scan) -> Vec<Vec<u8>> {
    from.scan(Space::Data, scan).expect("scan").rows.into_iter().map(|(key, _)| key).collect()
}

fn reads_what_was_written(open: Open<'_>) {
    let engine = open();
    assert_eq!(get(&*engine, b"k"), None);
    put(&*engine, b"k", b"v");
    put(&*engine, b"empty", b"");
    assert_eq!(get(&*engine, b"k"), Some(b"v".to_vec()));
    assert_eq!(get(&*engine, b"empty"), Some(Vec::new()));
    let wanted = [b"empty".to_vec(), b"none".to_vec(), b"k".to_vec(), b"k".to_vec()];
    let got = engine.multi_get(Space::Data, &wanted).expect("multi_get");
    assert_eq!(got, [Some(vec![]), None, Some(b"v".to_vec()), Some(b"v".to_vec())]);
    assert!(engine.multi_get(Space::Data, &[]).expect("multi_get").is_empty());
    write(&*engine, |batch| {
        batch.delete(Space::Data, b"k");
        batch.delete(Space::Data, b"was never there");
    });
    assert_eq!(get(&*engine, b"k"), None);
    engine.write(WriteBatch::new()).expect("an empty batch is fine");
    assert!(!engine.name().is_empty());
}

fn last_operation_wins(open: Open<'_>) {
    let engine = open();
    write(&*engine, |batch| {
        batch.put(Space::Data, "a", "1");
        batch.put(Space::Data, "a", "2");
        batch.put(Space::Data, "b", "1");
        batch.delete(Space::Data, "b");
        batch.delete(Space::Data, "c");
        batch.put(Space::Data, "c", "3");
    });
    assert_eq!(get(&*engine, b"a"), Some(b"2".to_vec()));
    assert_eq!(get(&*engine, b"b"), None);
    assert_eq!(get(&*engine, b"c"), Some(b"3".to_vec()));
}

fn synced_batches_survive(open: Open<'_>) {
    let engine = open();
    for round in 0..20_u8 {
        write(&*engine, |batch| {
            for space in Space::ALL {
                batch.put(space, vec![round], vec![round; 100]);
            }
            batch.delete_range(Space::Staging, vec![0], vec![round]);
        });
    }
    engine.sync().expect("sync");
    drop(engine);
    let engine = open();
    for round in 0..20_u8 {
        for space in Space::ALL {
            let expected = (space != Space::Staging || round == 19).then(|| vec![round; 100]);
            assert_eq!(engine.get(space, &[round]).expect("get"), expected, "{space:?} {round}");
        }
    }
}

fn batches_are_atomic(open: Open<'_>) {
    let engine = open();
    let done = Arc::new(AtomicBool::new(false));
    let reader = thread::spawn({
        let (engine, done) = (engine.clone(), done.clone());
        move || {
            let mut seen = 0;
            while !done.load(Ordering::Acquire) {
                let view = engine.snapshot().expect("snapshot");
                let of = |space| view.get(space, b"n").expect("get");
                assert_eq!(of(Space::Data), of(Space::Meta), "half a batch");
                seen += 1;
            }
            seen
        }
    });
    for n in 0..500_u32 {
        write(&*engine, |batch| {
            batch.put(Space::Data, "n", n.to_be_bytes());
            batch.put(Space::Meta, "n", n.to_be_bytes());
        });
    }
    done.store(true, Ordering::Release);
    reader.join().expect("the reader saw half a batch");
}

fn snapshots_do_not_move(open: Open<'_>) {
    let engine = open();
    put(&*engine, b"a", b"old");
    put(&*engine, b"b", b"old");
    let view = engine.snapshot().expect("snapshot");
    put(&*engine, b"a", b"new");
    put(&*engine, b"c", b"new");
    write(&*engine, |batch| {
        batch.delete_range(Space::Data, "b", "c");
    });
    assert_eq!(get(&*view, b"a"), Some(b"old".to_vec()));
    assert_eq!(view.multi_get(Space::Data, &[b"c".to_vec()]).expect("multi_get"), [None]);
    assert_eq!(keys(&*view, &Scan::all()), [b"a".to_vec(), b"b".to_vec()]);
    assert_eq!(keys(&*view, &Scan::all().reversed()), [b"b".to_vec(), b"a".to_vec()]);
    assert_eq!(keys(&*engine, &Scan::all()), [b"a".to_vec(), b"c".to_vec()]);
}

fn snapshot_outlives_handle(open: Open<'_>) {
    let engine = open();
    put(&*engine, b"a", b"1");
    let view = engine.snapshot().expect("snapshot");
    drop(engine);
    let rows = thread::spawn(move || view.scan(Space::Data, &Scan::all()).expect("scan").rows);
    assert_eq!(rows.join().expect("scan in another thread").len(), 1);
}

fn delete_range_is_half_open(open: Open<'_>) {
    let engine = open();
    for key in [&[0][..], &[1], &[1, 0], &[1, 0xff], &[2], &[0xff]] {
        put(&*engine, key, b"v");
    }
    write(&*engine, |batch| {
        batch.delete_range(Space::Data, [1], [2]);
    });
    assert_eq!(keys(&*engine, &Scan::all()), [vec![0], vec![2], vec![0xff]]);
    write(&*engine, |batch| {
        batch.delete_range(Space::Data, [2], [1]);
    });
    assert_eq!(keys(&*engine, &Scan::all()).len(), 3, "a turned-around range deletes nothing");
}

fn delete_range_orders(open: Open<'_>) {
    let engine = open();
    put(&*engine, b"k1", b"old");
    write(&*engine, |batch| {
        batch.put(Space::Data, "k2", "gone");
        batch.delete_range(Space::Data, "k", "l");
        batch.put(Space::Data, "k3", "new");
    });
    assert_eq!(keys(&*engine, &Scan::all()), [b"k3".to_vec()]);
}

fn edge_keys() -> Vec<Vec<u8>> {
    let mut keys = vec![
        vec![0],
        vec![0, 0],
        vec![0, 0xff],
        vec![1],
        vec![0x7f],
        vec![0x80],
        vec![0xfe, 0xff],
        vec![0xff],
        vec![0xff, 0],
        vec![0xff, 0xff],
        vec![0xff; 40],
    ];
    keys.sort();
    keys
}

fn scans_at_the_edges(open: Open<'_>) {
    let engine = open();
    let all = edge_keys();
    assert_eq!(engine.scan(Space::Data, &Scan::all()).expect("scan"), Page::default());
    for key in &all {
        put(&*engine, key, key);
    }
    let bounds: Vec<Vec<u8>> =
        all.iter().cloned().chain([vec![], vec![0x40], vec![0xff; 41]]).collect();
    for start in &bounds {
        for end in bounds.iter().cloned().map(Some).chain([None]) {
            let scan = Scan::range(start.clone(), end.clone());
            let mut expected: Vec<Vec<u8>> = all.clone();
            expected.retain(|key| key >= start && end.as_ref().is_none_or(|end| key < end));
            assert_eq!(keys(&*engine, &scan), expected, "{scan:?}");
            expected.reverse();
            assert_eq!(keys(&*engine, &scan.clone().reversed()), expected, "{scan:?} backwards");
        }
    }
    for prefix in [vec![], vec![0], vec![0xff], vec![0xff, 0xff], vec![5]] {
        let mut expected = all.clone();
        expected.retain(|key| key.starts_with(&prefix));
        assert_eq!(keys(&*engine, &Scan::prefix(&prefix)), expected, "prefix {prefix:?}");
        if let Some(end) = prefix_end(&prefix) {
            assert!(expected.iter().all(|key| *key < end));
        }
    }
}

fn pages_continue(open: Open<'_>) {
    let engine = open();
    let all: Vec<Row> = (0..97_u8).map(|n| (vec![n, n], vec![n; usize::from(n)])).collect();
    for (key, value) in &all {
        put(&*engine, key, value);
    }
    for base in
        [Scan::all().limit_rows(10), Scan::all().limit_bytes(300), Scan::all().limit_rows(97)]
    {
        for scan in [base.clone(), base.reversed()] {
            let mut rows = Vec::new();
            let mut next = Some(scan.clone());
            while let Some(scan) = next {
                let page = engine.scan(Space::Data, &scan).expect("scan");
                next = scan.after(&page);
                assert_eq!(page.more, next.is_some());
                assert!(page.rows.len() <= scan.limit_rows);
                rows.extend(page.rows);
            }
            if scan.reverse {
                rows.reverse();
            }
            assert_eq!(rows, all, "{scan:?}");
        }
    }
    let mut visited = 0;
    engine
        .visit(Space::Data, &Scan::all().limit_rows(1), &mut |_, _| {
            visited += 1;
            if visited == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .expect("visit");
    assert_eq!(visited, 5, "visit stops where it is told, not at the limits");
}

fn large_values(open: Open<'_>) {
    let engine = open();
    // Random, so that packing does not shrink it and the size can be checked.
    let value = |n: u8| {
        let mut bytes = vec![0; 1 << 20];
        StdRng::seed_from_u64(n.into()).fill_bytes(&mut bytes);
        bytes
    };
    for n in 0..12 {
        put(&*engine, &[n], &value(n));
    }
    put(&*engine, &vec![7; 4096], &value(99));
    engine.sync().expect("sync");
    drop(engine);
    let engine = open();
    for n in 0..12 {
        assert_eq!(get(&*engine, &[n]), Some(value(n)), "value {n}");
    }
    assert_eq!(get(&*engine, &vec![7; 4096]), Some(value(99)));
    let size = engine.approximate_size_bytes(Space::Data, &[0], Some(&[12])).expect("size");
    assert!((6 << 20..=24 << 20).contains(&size), "about 13 MiB, not {size}");
    let page = engine.scan(Space::Data, &Scan::all().limit_bytes(1)).expect("scan");
    assert_eq!((page.rows.len(), page.more), (1, true), "a page has at least one row");
}

fn spaces_are_apart(open: Open<'_>) {
    let engine = open();
    for space in Space::ALL {
        write(&*engine, |batch| {
            batch.put(space, "k", space.name());
        });
    }
    write(&*engine, |batch| {
        batch.delete_range(Space::Log, "a", "z");
    });
    for space in Space::ALL {
        let expected = (space != Space::Log).then(|| space.name().as_bytes().to_vec());
        assert_eq!(engine.get(space, b"k").expect("get"), expected);
    }
    let none = engine.approximate_size_bytes(Space::Log, b"", None).expect("size");
    assert_eq!(none, 0, "an empty range has no size");
}

fn many_writers(open: Open<'_>) {
    const WRITERS: u8 = 8;
    const BATCHES: u16 = 100;
    let engine = open();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let engine = engine.clone();
            thread::spawn(move || {
                for n in 0..BATCHES {
                    let key = [&[writer][..], &n.to_be_bytes()].concat();
                    put(&*engine, &key, &[writer; 64]);
                    assert!(get(&*engine, &key).is_some(), "a writer reads its own write");
                    if n % 25 == 24 {
                        engine.sync().expect("sync");
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().expect("a writer failed");
    }
    drop(engine);
    let engine = open();
    for writer in 0..WRITERS {
        let rows = engine.scan(Space::Data, &Scan::prefix(&[writer])).expect("scan").rows;
        assert_eq!(rows.len(), usize::from(BATCHES), "writer {writer}");
    }
}
