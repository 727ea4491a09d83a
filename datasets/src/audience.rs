//! How many people are nearest to which region, and what time it is for them.

use crate::csv::Table;
use crate::error::{Error, Result};
use crate::places::{Place, place_of, standard_utc_offset_min};
use crate::population::{City, cities_in};
use crate::source::Lines;
use isobar_api::Region;
use std::collections::BTreeMap;
use std::path::Path;

/// People by region and by minutes east of UTC.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audience {
    people: BTreeMap<Region, BTreeMap<i32, f64>>,
}

impl Audience {
    /// Adds people to a region and UTC offset.
    pub fn add(&mut self, region: &Region, utc_offset_min: i32, people: f64) {
        let offsets = self.people.entry(region.clone()).or_default();
        *offsets.entry(utc_offset_min).or_default() += people;
    }

    /// The regions, in name order.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.people.keys()
    }

    /// People of a region by minutes east of UTC.
    pub fn offsets(&self, region: &Region) -> impl Iterator<Item = (i32, f64)> {
        self.people.get(region).into_iter().flatten().map(|(&offset, &people)| (offset, people))
    }

    /// All people of a region.
    pub fn people(&self, region: &Region) -> f64 {
        self.offsets(region).map(|(_, people)| people).sum()
    }

    /// The same people with only these regions left: those of any other go to the nearest that is left.
    pub fn moved_to(&self, regions: &[Region]) -> Result<Self> {
        let kept = Nearest::new(regions)?;
        let mut out = Self::default();
        for (region, offsets) in &self.people {
            let target = match regions.contains(region) {
                true => region,
                false => kept.to(known_place(region)?),
            };
            for (&offset, &people) in offsets {
                out.add(target, offset, people);
            }
        }
        Ok(out)
    }
}

/// City people around six AWS regions, in millions, embedded. See `datasets/facts/README.md`.
pub fn builtin_audience() -> Audience {
    const BYTES: &[u8] = include_bytes!("../facts/audience_six_regions.csv");
    let audience = Lines::of_bytes("audience_six_regions.csv", BYTES).and_then(read_audience);
    audience.expect("embedded bytes, read by a test of this crate")
}

/// Counts the people of every city of the folder's table for the nearest of these regions.
pub fn audience_from(population_dir: &Path, regions: &[Region]) -> Result<Audience> {
    count(&cities_in(population_dir)?, regions)
}

fn count(cities: &[City], regions: &[Region]) -> Result<Audience> {
    let nearest = Nearest::new(regions)?;
    let mut audience = Audience::default();
    for city in cities {
        let place = Place { latitude: city.latitude, longitude: city.longitude };
        // Zones newer than our table fall back to the sun's time.
        let by_sun = || (city.longitude / 15.0).round() as i32 * 60;
        let offset_min = standard_utc_offset_min(&city.timezone).unwrap_or_else(by_sun);
        audience.add(nearest.to(place), offset_min, city.population as f64);
    }
    Ok(audience)
}

fn read_audience(lines: Lines) -> Result<Audience> {
    let mut table = Table::new(lines)?;
    let [region, offset] = [table.column("region")?, table.column("utc_offset_min")?];
    let millions = table.column("population_millions")?;
    let mut audience = Audience::default();
    while let Some(row) = table.next_row()? {
        let name = Region::new(row[region].as_str()).map_err(|e| table.bad(e.to_string()))?;
        let people = table.number::<f64>(&row, millions)? * 1e6;
        audience.add(&name, table.number(&row, offset)?, people);
    }
    Ok(audience)
}

struct Nearest<'a> {
    places: Vec<(&'a Region, Place)>,
}

impl<'a> Nearest<'a> {
    fn new(regions: &'a [Region]) -> Result<Self> {
        if regions.is_empty() {
            return Err(Error::Argument("no region to count people for".into()));
        }
        let places = regions.iter().map(|region| Ok((region, known_place(region)?)));
        Ok(Self { places: places.collect::<Result<_>>()? })
    }

    fn to(&self, place: Place) -> &'a Region {
        let angle = |&&(_, other): &&(&Region, Place)| place.angle_to(other);
        let nearest = self.places.iter().min_by(|a, b| angle(a).total_cmp(&angle(b)));
        nearest.expect("never empty, see new").0
    }
}

fn known_place(region: &Region) -> Result<Place> {
    place_of(region)
        .ok_or_else(|| Error::Argument(format!("it is not known where region `{region}` is")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        Region::new(name).expect("legal")
    }

    fn city(latitude: f64, longitude: f64, population: u64, timezone: &str) -> City {
        let (name, country, timezone) = ("x".into(), "XX".into(), timezone.into());
        City { name, country, latitude, longitude, population, timezone }
    }

    #[test]
    fn cities_go_to_the_nearest_region_with_their_own_clock() {
        let regions = ["us-east-1", "eu-west-1"].map(region);
        let cities = [
            city(40.7, -74.0, 8, "America/New_York"),
            city(41.9, 12.5, 3, "Europe/Rome"),
            city(10.0, 20.0, 1, "Not/Known"),
        ];
        let audience = count(&cities, &regions).expect("known regions");
        assert_eq!(audience.offsets(&regions[0]).collect::<Vec<_>>(), [(-300, 8.0)]);
        assert_eq!(audience.offsets(&regions[1]).collect::<Vec<_>>(), [(60, 4.0)]);
        assert!(count(&cities, &[]).is_err());
        assert!(count(&cities, &[region("atlantis-1")]).is_err());
    }

    #[test]
    fn nobody_is_lost_when_regions_are_left_out() {
        let audience = builtin_audience();
        assert_eq!(audience.regions().count(), 6);
        let three = ["us-east-1", "eu-west-1", "ap-northeast-1"].map(region);
        let moved = audience.moved_to(&three).expect("known");
        assert_eq!(moved.regions().count(), 3);
        let all = |a: &Audience| a.regions().map(|region| a.people(region)).sum::<f64>();
        assert!((all(&moved) - all(&audience)).abs() < 1.0);
        let [us, _, asia] = &three;
        assert!(moved.people(us) > audience.people(us));
        let singapore = region("ap-southeast-1");
        let both = audience.people(asia) + audience.people(&singapore);
        assert!((moved.people(asia) - both).abs() < 1.0);
    }
}
