//! Shares of regions by neighbourhood and hour.

use crate::audience::Audience;
use crate::error::{Error, Result};
use crate::geo::awake::awake;
use isobar_api::Region;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;

const MAX_NEIGHBOURHOODS: u64 = 1 << 20;

/// How readers are spread over keys and regions.
#[derive(Clone, Debug, PartialEq)]
pub struct ReaderConfig {
    /// Keys in the trace: ranks are below this.
    pub keys: u64,
    /// Contiguous parts of the key space, each with one audience.
    pub neighbourhoods: u64,
    /// The part of the neighbourhoods that has no home and follows the sun, 0 to 1.
    pub roaming_fraction: f64,
    /// The home's share of a homed neighbourhood's reads when all regions are equally awake, 0 to below 1.
    pub home_share: f64,
    /// 1: regions count by heads; 0: all alike. In between, large regions are damped, since people of all regions do
    /// not use one service alike (the data is population, not users).
    pub population_exponent: f64,
}

impl ReaderConfig {
    /// The defaults, for so many keys.
    pub fn for_keys(keys: u64) -> Self {
        let (roaming_fraction, home_share, population_exponent) = (0.5, 0.8, 0.5);
        Self { keys, neighbourhoods: 24, roaming_fraction, home_share, population_exponent }
    }

    fn check(&self) -> Result<()> {
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let bad = |what: &str| Err(Error::Argument(format!("reader model: {what}")));
        if self.keys == 0 {
            return bad("there must be at least one key");
        }
        if !(1..=MAX_NEIGHBOURHOODS).contains(&self.neighbourhoods) {
            return bad("write 1 to 1048576 neighbourhoods");
        }
        if !share(self.roaming_fraction) || !share(self.population_exponent) {
            return bad("roaming fraction and population exponent are 0 to 1");
        }
        if !share(self.home_share) || self.home_share >= 1.0 {
            return bad("the home share is 0 to below 1");
        }
        Ok(())
    }
}

/// One region with its weight by clock.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    region: Region,
    /// people^exponent of the whole region.
    weight: f64,
    /// Minutes east of UTC, and the part of the region's people there.
    clocks: Vec<(i32, f64)>,
}

impl Crowd {
    /// The weight of those who are awake at a UTC hour.
    pub(crate) fn awake_weight(&self, sim_time_h: f64) -> f64 {
        let at = |&(offset_min, part): &(i32, f64)| {
            part * awake(sim_time_h + f64::from(offset_min) / 60.0)
        };
        self.weight * self.clocks.iter().map(at).sum::<f64>()
    }
}

/// Who reads what, when. Built once; the same configuration, audience and seed give the same model.
#[derive(Clone, Debug)]
pub struct ReaderModel {
    config: ReaderConfig,
    crowds: Vec<Crowd>,
    /// Per neighbourhood the index of its home's crowd; `None` roams.
    homes: Vec<Option<usize>>,
}

impl ReaderModel {
    /// Draws homes by the seed.
    pub fn new(config: ReaderConfig, audience: &Audience, seed: u64) -> Result<Self> {
        config.check()?;
        let crowds = crowds(audience, config.population_exponent);
        if crowds.is_empty() {
            return Err(Error::Argument("reader model: the audience has no people".into()));
        }
        let homes = draw_homes(&config, &crowds, &mut StdRng::seed_from_u64(seed));
        Ok(Self { config, crowds, homes })
    }

    /// The neighbourhood of a key, by its rank among the trace's keys.
    pub fn neighbourhood_of(&self, key_rank: u64) -> u64 {
        let rank = u128::from(key_rank.min(self.config.keys - 1));
        (rank * u128::from(self.config.neighbourhoods) / u128::from(self.config.keys)) as u64
    }

    /// The home region; `None` if the neighbourhood roams, or does not exist.
    pub fn home_of(&self, neighbourhood: u64) -> Option<&Region> {
        let home = *self.homes.get(neighbourhood as usize)?;
        home.map(|index| &self.crowds[index].region)
    }

    /// The share of each region in the reads of a neighbourhood at a UTC hour; they sum to 1.
    pub fn shares(&self, neighbourhood: u64, sim_time_h: f64) -> BTreeMap<Region, f64> {
        let weights: Vec<f64> = self.weights(neighbourhood, sim_time_h).collect();
        let total: f64 = weights.iter().sum();
        let shares = self.crowds.iter().zip(weights);
        shares.map(|(crowd, weight)| (crowd.region.clone(), weight / total)).collect()
    }

    /// Draws the region of one access.
    pub fn region_at(&self, key_rank: u64, sim_time_h: f64, rng: &mut impl Rng) -> Region {
        let neighbourhood = self.neighbourhood_of(key_rank);
        let index = draw(self.weights(neighbourhood, sim_time_h), rng);
        self.crowds[index].region.clone()
    }

    fn weights(&self, neighbourhood: u64, sim_time_h: f64) -> impl Iterator<Item = f64> + Clone {
        let home = self.homes.get(neighbourhood as usize).copied().flatten();
        let total: f64 = self.crowds.iter().map(|crowd| crowd.weight).sum();
        let home_share = self.config.home_share;
        self.crowds.iter().enumerate().map(move |(index, crowd)| {
            let others = total - crowd.weight;
            let affinity = match home == Some(index) && others > 0.0 {
                true => home_share / (1.0 - home_share) * others / crowd.weight,
                false => 1.0,
            };
            crowd.awake_weight(sim_time_h) * affinity
        })
    }
}

/// The regions that have people, in name order.
pub(crate) fn crowds(audience: &Audience, exponent: f64) -> Vec<Crowd> {
    let crowd = |region: &Region| {
        let people = audience.people(region);
        let part = |(offset_min, count)| (offset_min, count / people);
        let clocks = audience.offsets(region).map(part).collect();
        Crowd { region: region.clone(), weight: people.powf(exponent), clocks }
    };
    audience.regions().filter(|region| audience.people(region) > 0.0).map(crowd).collect()
}

fn draw_homes(config: &ReaderConfig, crowds: &[Crowd], rng: &mut StdRng) -> Vec<Option<usize>> {
    let count = config.neighbourhoods as usize;
    let roaming = (count as f64 * config.roaming_fraction).round() as usize;
    let mut homes: Vec<Option<usize>> = (0..count)
        .map(|n| (n >= roaming).then(|| draw(crowds.iter().map(|c| c.weight), rng)))
        .collect();
    // Fisher and Yates, so that exactly the wanted part roams, anywhere in the key space.
    for last in (1..count).rev() {
        homes.swap(last, rng.random_range(0..=last));
    }
    homes
}

/// Draws an index with a probability proportional to its weight.
fn draw(weights: impl Iterator<Item = f64> + Clone, rng: &mut impl Rng) -> usize {
    let total: f64 = weights.clone().sum();
    let mut left = rng.random::<f64>() * total;
    let mut last = 0;
    for (index, weight) in weights.enumerate() {
        if left < weight {
            return index;
        }
        left -= weight;
        last = index;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audience::builtin_audience;

    fn three() -> Audience {
        let names = ["us-east-1", "eu-west-1", "ap-northeast-1"];
        let regions = names.map(|name| Region::new(name).expect("legal"));
        builtin_audience().moved_to(&regions).expect("known")
    }

    fn model(seed: u64) -> ReaderModel {
        ReaderModel::new(ReaderConfig::for_keys(10_000), &three(), seed).expect("legal")
    }

    fn two_largest(shares: &BTreeMap<Region, f64>) -> f64 {
        let mut all: Vec<f64> = shares.values().copied().collect();
        all.sort_by(|a, b| b.total_cmp(a));
        all.iter().take(2).sum()
    }

    #[test]
    fn neighbourhoods_are_contiguous_and_even() {
        let model = model(1);
        let all: Vec<u64> = (0..10_000).map(|rank| model.neighbourhood_of(rank)).collect();
        assert!(all.is_sorted());
        for n in 0..24 {
            let size = all.iter().filter(|&&m| m == n).count();
            assert!((416..=417).contains(&size), "{n}: {size}");
        }
        assert_eq!(model.neighbourhood_of(u64::MAX), 23);
    }

    #[test]
    fn half_roam_and_homes_differ() {
        let model = model(1);
        let homes: Vec<_> = (0..24).filter_map(|n| model.home_of(n)).collect();
        assert_eq!(homes.len(), 12);
        assert!(homes.iter().collect::<std::collections::BTreeSet<_>>().len() > 1);
        assert_ne!(model.homes, super::ReaderModel::homes_of_seed(2));
        assert_eq!(model.homes, super::ReaderModel::homes_of_seed(1));
    }

    impl ReaderModel {
        fn homes_of_seed(seed: u64) -> Vec<Option<usize>> {
            model(seed).homes
        }
    }

    #[test]
    fn one_or_two_regions_make_most_reads_and_homes_count() {
        let model = model(1);
        let hours = || (0..24).map(f64::from);
        for n in 0..24 {
            let mean = hours().map(|h| two_largest(&model.shares(n, h))).sum::<f64>() / 24.0;
            assert!(mean > 0.75, "neighbourhood {n}: {mean}");
            for h in hours() {
                let sum: f64 = model.shares(n, h).values().sum();
                assert!((sum - 1.0).abs() < 1e-9);
            }
            let Some(home) = model.home_of(n) else {
                continue;
            };
            let share = |h| model.shares(n, h)[home];
            let best = hours().map(share).fold(0.0, f64::max);
            let worst = hours().map(share).fold(1.0, f64::min);
            assert!((0.75..0.98).contains(&best), "{n} {home}: {best}");
            assert!(worst < best - 0.2, "{n}: people never sleep");
        }
    }

    #[test]
    fn roaming_neighbourhoods_follow_the_sun() {
        let model = model(1);
        let roaming = (0..24).find(|&n| model.home_of(n).is_none()).expect("half of them");
        let leader = |h: f64| {
            let shares = model.shares(roaming, h);
            let (region, share) =
                shares.iter().max_by(|a, b| a.1.total_cmp(b.1)).expect("three regions");
            assert!(*share > 0.4, "{h}: {share}");
            region.to_string()
        };
        // Evening in Tokyo, in Paris, in New York.
        assert_eq!(leader(12.0), "ap-northeast-1");
        assert_eq!(leader(19.0), "eu-west-1");
        assert_eq!(leader(1.0), "us-east-1");
    }

    #[test]
    fn draws_follow_the_shares() {
        let model = model(1);
        let mut rng = StdRng::seed_from_u64(9);
        let rank = 5_000;
        let shares = model.shares(model.neighbourhood_of(rank), 15.0);
        let mut counts = BTreeMap::<Region, f64>::new();
        for _ in 0..20_000 {
            *counts.entry(model.region_at(rank, 15.0, &mut rng)).or_default() += 1.0 / 20_000.0;
        }
        for (region, share) in shares {
            let found = counts.get(&region).copied().unwrap_or(0.0);
            assert!((found - share).abs() < 0.02, "{region}: {found} {share}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let good = ReaderConfig::for_keys(10);
        let bad = [
            ReaderConfig { keys: 0, ..good.clone() },
            ReaderConfig { neighbourhoods: 0, ..good.clone() },
            ReaderConfig { home_share: 1.0, ..good.clone() },
            ReaderConfig { roaming_fraction: f64::NAN, ..good.clone() },
        ];
        for config in bad {
            assert!(ReaderModel::new(config.clone(), &three(), 1).is_err(), "{config:?}");
        }
        assert!(ReaderModel::new(good.clone(), &Audience::default(), 1).is_err());
        let mut one = Audience::default();
        one.add(&Region::new("eu").expect("legal"), 0, 5.0);
        let alone = ReaderModel::new(good, &one, 1).expect("one region is legal");
        assert_eq!(alone.shares(0, 4.0).len(), 1);
    }
}
