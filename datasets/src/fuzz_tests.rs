//! Files of every kind that is read, damaged, packed or made of anything.

use crate::{audience_from, read_cities, read_countries, read_rates, read_rtt, read_trace};
use isobar_fuzz::{config, damage, read_within};
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::path::Path;

/// Accesses taken of a trace: one line may stand for millions.
const ACCESSES_MAX: usize = 1_000;

/// What is read in one piece or as lines: the buffers take some, and a packed file may be as much larger.
fn read_all(dir: &Path, bytes: &[u8]) {
    let path = dir.join("some.csv");
    std::fs::write(&path, bytes).expect("a file of a test");
    read_within(bytes.len(), || {
        let _ = read_trace(&path, ACCESSES_MAX);
        let _ = read_rtt(&path);
        let _ = read_rates(&path);
        let _ = read_countries(&path);
        let _ = read_cities(&path);
        let _ = audience_from(dir, &[]);
    });
    let regions: Vec<_> = crate::builtin_rtt().regions().cloned().collect();
    let _ = audience_from(dir, &regions);
    let folder = dir.join("pings");
    std::fs::create_dir_all(&folder).expect("a folder of a test");
    std::fs::write(folder.join("eu.dat"), bytes).expect("a file of a test");
    let _ = read_within(bytes.len(), || read_rtt(&folder));
}

const WHOLE: [&str; 9] = [
    "5\n-3\n18\n",
    "7 3 0 0\n100 16777216 0 1\n",
    "version,time,op,size,lbn\n1,500,28,512,9\n1,501.5,2a,512,10\n",
    "isobar-trace 1 size=8192\n0 r 5\n3 w 6\n",
    "from_region,to_region,rtt_avg_ms\neu,us,80.5\nus,eu,79\n",
    "0.1/80.5/90/1:us\n0.1/80.5/90/1:ap\n",
    "1\n0\n52\n",
    "iso,iso3,name,population\nIE,IRL,Ireland,4853506\n",
    "name,countrycode,latitude,longitude,population,timezone\n\"Here, There\",IE,53.3,-6.2,1000,Europe/Dublin\n",
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn fuzz_files(which in 0..WHOLE.len(), packed: bool, first in damage(), second in damage()) {
        let dir = tempfile::tempdir().expect("a folder");
        let mut bytes = first.of(WHOLE[which].as_bytes());
        if packed {
            bytes = second.of(&compress_to_vec(&bytes[..], CompressionLevel::Fastest));
        }
        read_all(dir.path(), &bytes);
    }

    #[test]
    fn fuzz_any_bytes_are_a_file_or_an_error(
        bytes: Vec<u8>, text in "[0-9a-z.,/:\" \n-]{0,60}", packed: Vec<u8>,
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        read_all(dir.path(), &bytes);
        read_all(dir.path(), text.as_bytes());
        let packed = [&[0x28, 0xb5, 0x2f, 0xfd][..], &packed].concat();
        read_all(dir.path(), &packed);
    }

    #[test]
    fn fuzz_numbers_in_traces(
        lines in prop::collection::vec((any::<u64>(), any::<i64>(), "-?[0-9]{1,20}(\\.[0-9]{1,4})?"), 1..4),
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let many = |header: &str, line: &dyn Fn(&(u64, i64, String)) -> String| {
            header.to_owned() + &lines.iter().map(line).collect::<String>()
        };
        for text in [
            many("isobar-trace 1 size=1\n", &|(a, b, _)| format!("{a} r {b}\n")),
            many("time,op,size,lbn\n", &|(a, b, c)| format!("{c},28,{a},{b}\n")),
            many("", &|(a, b, _)| format!("{b} {a} 0 0\n")),
            many("", &|(a, _, _)| format!("{a}\n")),
            many("", &|(_, b, _)| format!("{b}\n")),
            many("from_region,to_region,rtt_avg_ms\n", &|(_, _, c)| format!("eu,us,{c}\n")),
        ] {
            read_all(dir.path(), text.as_bytes());
        }
    }
}
