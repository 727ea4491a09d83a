//! Reads the real public sets where the environment variable `ISOBAR_DATASETS` names their folder.

use isobar_api::Region;
use isobar_datasets::{
    Arrivals, Op, Trace, TraceReader, audience_from, builtin_audience, builtin_rtt, lru_hit_ratio,
    read_cities, read_countries, read_rates, read_rtt, read_trace, ycsb,
};
use std::path::{Path, PathBuf};

/// The folder, or a note and `None`.
fn folder(set: &str) -> Option<PathBuf> {
    match std::env::var_os("ISOBAR_DATASETS") {
        Some(root) => Some(Path::new(&root).join(set)),
        None => {
            println!("not run: ISOBAR_DATASETS does not name the folder of the public sets");
            None
        }
    }
}

fn region(name: &str) -> Region {
    Region::new(name).expect("legal")
}

fn whole(path: &Path) -> Trace {
    read_trace(path, usize::MAX).expect("a real trace")
}

#[test]
fn access_traces_have_their_published_size_and_hit_ratio() {
    let Some(dir) = folder("cache_traces") else {
        return;
    };
    for (file, accesses, keys) in [
        ("cloudphysics/cloudPhysicsIO.csv.zst", 113_872, None),
        ("arc/OLTP.lis.zst", 914_145, Some(186_880)),
        ("arc/P3.lis.zst", 3_912_296, None),
        ("cache2k/web12.keys.txt.zst", 95_607, Some(13_756)),
        ("cache2k/orm-busy.keys.txt.zst", 5_000_000, Some(76_349)),
        ("corda/vaultservice.keys.txt.zst", 135_702, Some(90_468)),
        ("lirs/sprite.keys.txt.zst", 133_996, Some(7_075)),
        ("lirs/cs.keys.txt.zst", 6_781, None),
    ] {
        let trace = whole(&dir.join(file));
        assert_eq!(trace.accesses.len(), accesses, "{file}");
        if let Some(keys) = keys {
            assert_eq!(trace.distinct_keys().len(), keys, "{file}");
        }
    }
    for (file, capacity, percent) in [
        ("arc/OLTP.lis.zst", 1000, 32.83),
        ("cloudphysics/cloudPhysicsIO.csv.zst", 5000, 19.62),
        ("lirs/sprite.keys.txt.zst", 500, 78.30),
        ("lirs/multi1.keys.txt.zst", 1000, 48.23),
        ("lirs/multi2.keys.txt.zst", 2000, 49.00),
        ("cache2k/web12.keys.txt.zst", 1200, 66.85),
    ] {
        let ratio = lru_hit_ratio(&whole(&dir.join(file)), capacity) * 100.0;
        assert!((ratio - percent).abs() < 0.006, "{file} at {capacity}: {ratio}");
    }
}

#[test]
fn traces_stream_and_stop_at_the_cap() {
    let Some(dir) = folder("cache_traces") else {
        return;
    };
    let reader = TraceReader::open(&dir.join("arc/P6.lis.zst")).expect("opens");
    let pages = reader.inspect(|access| assert!(access.is_ok())).count();
    assert_eq!(pages, 12_672_123);
    let few = read_trace(&dir.join("arc/P6.lis.zst"), 1000).expect("opens");
    assert_eq!(few.accesses.len(), 1000);
    let block = whole(&dir.join("cloudphysics/cloudPhysicsIO.csv.zst"));
    assert!(block.accesses.iter().any(|a| a.op == Op::Write));
    let last_ms = block.accesses.last().and_then(|a| a.at_ms).expect("timed");
    assert!((6_000_000..8_000_000).contains(&last_ms), "two hours: {last_ms}");
}

#[test]
fn round_trip_tables_and_the_embedded_excerpt_agree() {
    let Some(dir) = folder("cloud_rtt") else {
        return;
    };
    for (file, regions) in [
        ("aws_2020_06_05.csv", 19),
        ("aws_2021_02_13.csv", 5),
        ("gcp.csv", 20),
        ("ibm_30day_avg.csv", 13),
    ] {
        let matrix = read_rtt(&dir.join(file)).expect("a real table");
        assert_eq!(matrix.regions().count(), regions, "{file}");
    }
    read_rtt(&dir.join("ibm_interzone_30day_avg.csv")).expect("a real table");
    let full = read_rtt(&dir.join("aws_2020_06_05.csv")).expect("a real table");
    let excerpt = builtin_rtt();
    for a in excerpt.regions() {
        for b in excerpt.regions() {
            let (own, real) = (excerpt.get(a, b).expect("whole"), full.get(a, b).expect("whole"));
            assert!((own - real).abs() < 0.001, "{a} {b}: {own} {real}");
        }
    }
}

#[test]
fn populations_and_the_embedded_audience_agree() {
    let Some(dir) = folder("population") else {
        return;
    };
    let cities = read_cities(&dir.join("cities15000.csv.zst")).expect("a real table");
    assert_eq!(cities.len(), 34_006);
    let countries = read_countries(&dir.join("countries.csv")).expect("a real table");
    assert_eq!(countries.len(), 252);
    let world: u64 = countries.iter().map(|country| country.population).sum();
    assert!((7_500_000_000..7_700_000_000).contains(&world), "{world}");
    let known = builtin_audience();
    let regions: Vec<Region> = known.regions().cloned().collect();
    let real = audience_from(&dir, &regions).expect("counted");
    for region in &regions {
        for (offset_min, people) in real.offsets(region) {
            let rounded = (people / 1e6).round() * 1e6;
            let own = known.offsets(region).find(|(offset, _)| *offset == offset_min);
            assert_eq!(own.map_or(0.0, |(_, people)| people), rounded, "{region} {offset_min}");
        }
    }
    // Leaving regions out moves whole regions, so it differs from counting anew, but not by much.
    let three = ["us-east-1", "eu-west-1", "ap-northeast-1"].map(region);
    let (moved, counted) =
        (known.moved_to(&three).expect("known"), audience_from(&dir, &three).expect("counted"));
    for region in &three {
        let ratio = moved.people(region) / counted.people(region);
        assert!((0.8..1.25).contains(&ratio), "{region}: {ratio}");
    }
}

#[test]
fn request_rates_and_workloads_read() {
    let Some(dir) = folder("http_request_rates") else {
        return;
    };
    for (file, seconds) in [
        ("nasa_per_second_first70pct.txt.zst", 3_456_000),
        ("twitter_trace_per_second_first70pct.txt.zst", 1_296_000),
    ] {
        let rates = read_rates(&dir.join(file)).expect("real rates");
        assert_eq!(rates.per_second.len(), seconds);
        let arrivals = Arrivals::from_rates(&rates).expect("days enough");
        for hour in [5.0, 15.0] {
            let multiplier = arrivals.multiplier(hour);
            assert!((0.2..3.0).contains(&multiplier), "{file}: {multiplier:.2} at {hour} h");
        }
    }
    let dir = folder("ycsb").expect("the variable is set");
    for name in ["a", "b", "c", "d", "e", "f"] {
        let path = dir.join(format!("workload{name}.properties"));
        let workload = ycsb::read_workload(&path).expect("a real workload");
        assert_eq!(ycsb::Operations::new(&workload, 1).take(1000).count(), 1000);
    }
    let e = ycsb::read_workload(&dir.join("workloade.properties")).expect("a real workload");
    assert!((e.mix.scan - 0.95).abs() < 1e-9 && e.max_scan_length == 100);
    ycsb::read_workload(&dir.join("tsworkloada.properties")).expect("proportions are read");
}
