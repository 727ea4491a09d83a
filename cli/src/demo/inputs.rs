//! What the demo is fed with: a trace, distances, people, and a day. Real inputs; their combination is a model.

use super::sites;
use crate::{commands::demo::Demo, failure::invalid};
use isobar_api::{ApiError, ErrorCode, Region, rtt::RttMatrix};
use isobar_datasets::{
    Arrivals, Audience, Op, Trace, audience_from, builtin_audience, builtin_rtt,
    geo::{ReaderConfig, ReaderModel},
    read_rates, read_rtt, read_trace, recorded_trace,
};
use std::{collections::BTreeSet, path::Path};

/// Shards of each table; each is one neighbourhood of the reader model.
pub(super) const SHARDS: u64 = 16;
/// Distinct keys at most: each is written to both tables before the load begins.
const KEYS_MAX: usize = 8_000;
/// Traces that do not tell reads from writes: every so-manieth access is made a write, to have some to check.
const WRITE_EVERY: usize = 10;
/// The part of the shards that is read from all over the world and follows the sun.
const ROAMING_SHARE: f64 = 1.0 / 3.0;

/// One access of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// Place of its key among all keys in use, in key order.
    pub(super) rank: u64,
    /// Whether it writes.
    pub(super) write: bool,
}

/// Everything that is read from files, checked.
pub(super) struct Inputs {
    pub(super) trace: String,
    pub(super) arrivals_name: String,
    pub(super) rtt_name: String,
    pub(super) population_name: String,
    /// Repeated from the start when the run is longer.
    pub(super) accesses: Vec<Planned>,
    /// Whether writes are in the trace or were made from reads.
    pub(super) writes_made: bool,
    pub(super) keys: u64,
    /// The region of each node, in order of their ids.
    pub(super) node_regions: Vec<Region>,
    /// The same, each once, in name order.
    pub(super) regions: Vec<Region>,
    pub(super) rtt: RttMatrix,
    pub(super) readers: ReaderModel,
    pub(super) arrivals: Arrivals,
}

impl Inputs {
    pub(super) fn read(args: &Demo) -> Result<Self, ApiError> {
        let wanted = usize::try_from(args.rate.saturating_mul(args.seconds)).unwrap_or(usize::MAX);
        let trace = match &args.trace {
            Some(path) => read_trace(path, wanted).map_err(ApiError::from)?,
            None => recorded_trace(),
        };
        let (accesses, writes_made) = planned(&trace, wanted)?;
        let keys = accesses.iter().map(|a| a.rank).max().map_or(0, |rank| rank + 1);
        if keys < SHARDS {
            return Err(invalid(format!(
                "{}: {keys} keys are too few for {SHARDS} shards",
                trace.name
            )));
        }
        let rtt = match &args.rtt {
            Some(path) => read_rtt(path).map_err(ApiError::from)?,
            None => builtin_rtt(),
        };
        let rtt_name = name(args.rtt.as_deref(), "built-in: AWS, 2020");
        let (node_regions, rtt) = sites::choose(&rtt, &rtt_name)?;
        let regions: Vec<Region> = rtt.regions().cloned().collect();
        let audience = match &args.population {
            Some(folder) => audience_from(folder, &regions),
            None => builtin_audience().moved_to(&regions),
        };
        let audience = audience.map_err(ApiError::from)?;
        let config = reader_config(keys);
        let arrivals = arrivals(args.arrivals.as_deref(), &audience, config.population_exponent)?;
        let readers = ReaderModel::new(config, &audience, args.seed).map_err(ApiError::from)?;
        Ok(Self {
            trace: trace.name,
            arrivals_name: name(args.arrivals.as_deref(), "built-in: the readers' own day"),
            rtt_name,
            population_name: name(args.population.as_deref(), "built-in: GeoNames cities"),
            accesses,
            writes_made,
            keys,
            node_regions,
            regions,
            rtt,
            readers,
            arrivals,
        })
    }

    /// The first rank of each shard but the first: the keys at which the tables are cut.
    pub(super) fn cuts(&self) -> Vec<u64> {
        let first_of =
            |shard: u64| (0..self.keys).find(|rank| self.readers.neighbourhood_of(*rank) == shard);
        (1..SHARDS).filter_map(first_of).collect()
    }
}

/// People count by heads; a third of the shards roam, the others have a home. See docs/src/demo.md.
fn reader_config(keys: u64) -> ReaderConfig {
    ReaderConfig {
        neighbourhoods: SHARDS,
        roaming_fraction: ROAMING_SHARE,
        population_exponent: 1.0,
        ..ReaderConfig::for_keys(keys)
    }
}

fn arrivals(file: Option<&Path>, audience: &Audience, exponent: f64) -> Result<Arrivals, ApiError> {
    let made = match file {
        Some(path) => read_rates(path).and_then(|rates| Arrivals::from_rates(&rates)),
        None => Arrivals::of_audience(audience, exponent),
    };
    made.map_err(ApiError::from)
}

/// The beginning of a trace: as much as the run needs, and no more keys than it may preload.
fn planned(trace: &Trace, wanted: usize) -> Result<(Vec<Planned>, bool), ApiError> {
    let mut keys = BTreeSet::new();
    let fits = |key: u64| {
        keys.insert(key);
        keys.len() <= KEYS_MAX
    };
    let mut fits = fits;
    let beginning = trace.accesses.iter().take(wanted).copied();
    let accesses: Vec<_> = beginning.take_while(|access| fits(access.key)).collect();
    if accesses.is_empty() {
        return Err(ApiError::new(ErrorCode::BadDataset, format!("{}: no access", trace.name)));
    }
    let part = Trace { name: trace.name.clone(), accesses };
    let writes_made = part.accesses.iter().all(|access| access.op == Op::Read);
    let pairs = part.ranks().into_iter().zip(&part.accesses).enumerate();
    let planned = pairs.map(|(at, (rank, access))| Planned {
        rank,
        write: access.op == Op::Write || (writes_made && at % WRITE_EVERY == WRITE_EVERY - 1),
    });
    Ok((planned.collect(), writes_made))
}

fn name(file: Option<&Path>, built_in: &str) -> String {
    let of_file = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    file.and_then(of_file).unwrap_or_else(|| built_in.into())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use isobar_datasets::Access;

    pub(in crate::demo) fn args() -> Demo {
        Demo {
            seconds: 60,
            seed: 1,
            rate: 200,
            trace: None,
            arrivals: None,
            rtt: None,
            population: None,
            keep: false,
        }
    }

    fn trace(accesses: &[(u64, Op)]) -> Trace {
        let access = |&(key, op): &(u64, Op)| Access { at_ms: None, op, key, size_bytes: None };
        Trace { name: "t".into(), accesses: accesses.iter().map(access).collect() }
    }

    #[test]
    fn the_built_in_inputs_fit_together() {
        let inputs = Inputs::read(&args()).expect("embedded");
        assert_eq!(inputs.regions.len(), 3);
        assert_eq!(inputs.accesses.len(), 12_000);
        assert!(!inputs.writes_made && inputs.accesses.iter().any(|a| a.write));
        let cuts = inputs.cuts();
        assert_eq!(cuts.len() as u64, SHARDS - 1);
        assert!(cuts.is_sorted() && cuts[0] > 0 && *cuts.last().expect("23 of them") < inputs.keys);
    }

    #[test]
    fn a_trace_without_writes_gets_some_and_says_so() {
        let reads: Vec<(u64, Op)> = (0..40).map(|key| (key, Op::Read)).collect();
        let (planned, made) = super::planned(&trace(&reads), 1_000).expect("accesses");
        assert!(made);
        assert_eq!(planned.iter().filter(|p| p.write).count(), 4);
        let (planned, made) =
            super::planned(&trace(&[(7, Op::Write), (3, Op::Read)]), 9).expect("two");
        assert!(!made);
        assert_eq!(planned, [Planned { rank: 1, write: true }, Planned { rank: 0, write: false }]);
    }

    #[test]
    fn a_trace_is_cut_where_it_has_too_many_keys() {
        let many: Vec<(u64, Op)> = (0..20_000).map(|key| (key, Op::Read)).collect();
        let (planned, _) = super::planned(&trace(&many), 20_000).expect("accesses");
        assert_eq!(planned.len(), KEYS_MAX);
        assert!(super::planned(&trace(&[]), 5).is_err());
    }

    #[test]
    fn inputs_that_cannot_work_are_refused() {
        let missing = Demo { trace: Some("no/such/trace".into()), ..args() };
        assert!(Inputs::read(&missing).is_err());
    }
}
