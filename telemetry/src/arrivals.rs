//! Requests by the region of the client: the signal that moves replicas to their readers.

use isobar_api::{Region, report::Arrivals};

/// Counts reads, writes and scans per region for one interval.
#[derive(Clone, Debug)]
pub struct ArrivalCounter {
    /// A short list in order of first sight: a linear search beats a map for the few regions there are.
    regions: Vec<Arrivals>,
    regions_max: usize,
}

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Keys read.
    Read,
    /// Mutations.
    Write,
    /// Scans.
    Scan,
}

impl ArrivalCounter {
    /// A counter that tells up to `regions_max` regions apart; the rest counts as "did not say".
    pub fn new(regions_max: usize) -> Self {
        Self { regions: Vec::new(), regions_max: regions_max.max(1) }
    }

    /// Counts `n` arrivals.
    pub fn add(&mut self, kind: Arrival, region: Option<&Region>, n: u64) {
        let entry = self.entry(region);
        let counter = match kind {
            Arrival::Read => &mut entry.reads,
            Arrival::Write => &mut entry.writes,
            Arrival::Scan => &mut entry.scans,
        };
        *counter = counter.saturating_add(n);
    }

    fn entry(&mut self, region: Option<&Region>) -> &mut Arrivals {
        let find = |list: &[Arrivals], region: Option<&Region>| {
            list.iter().position(|a| a.region.as_ref() == region)
        };
        let named = self.regions.iter().filter(|a| a.region.is_some()).count();
        // A client chooses the name it sends: without a bound it could grow the table at will.
        let full = named >= self.regions_max;
        let index = match find(&self.regions, region) {
            Some(index) => index,
            None => {
                let region = if full { None } else { region };
                find(&self.regions, region).unwrap_or_else(|| {
                    self.regions.push(Arrivals {
                        region: region.cloned(),
                        reads: 0,
                        writes: 0,
                        scans: 0,
                    });
                    self.regions.len() - 1
                })
            }
        };
        &mut self.regions[index]
    }

    /// What arrived since the last call, ordered by region ("did not say" first); empty where nothing did.
    pub fn take(&mut self) -> Vec<Arrivals> {
        let mut taken = std::mem::take(&mut self.regions);
        taken.sort_by(|a, b| a.region.cmp(&b.region));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_region_and_starts_anew() {
        let (eu, us) = (Region::new("eu").unwrap(), Region::new("us").unwrap());
        let mut counter = ArrivalCounter::new(8);
        counter.add(Arrival::Read, Some(&us), 3);
        counter.add(Arrival::Write, Some(&us), 1);
        counter.add(Arrival::Scan, Some(&eu), 2);
        counter.add(Arrival::Read, None, 5);
        let of = |region: Option<&Region>, reads, writes, scans| Arrivals {
            region: region.cloned(),
            reads,
            writes,
            scans,
        };
        let expected = [of(None, 5, 0, 0), of(Some(&eu), 0, 0, 2), of(Some(&us), 3, 1, 0)];
        assert_eq!(counter.take(), expected);
        assert_eq!(counter.take(), []);
    }

    #[test]
    fn made_up_regions_do_not_grow_the_table_and_are_still_counted() {
        let mut counter = ArrivalCounter::new(4);
        for i in 0..1_000 {
            counter.add(Arrival::Read, Some(&Region::new(format!("r{i}")).unwrap()), 1);
        }
        let taken = counter.take();
        assert_eq!(taken.len(), 5);
        assert_eq!(taken.iter().map(|a| a.reads).sum::<u64>(), 1_000);
        assert_eq!(taken[0].region, None);
        assert_eq!(taken[0].reads, 996);
    }
}
