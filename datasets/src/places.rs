//! Where cloud regions are, and what the clock says there.

use crate::csv::Table;
use crate::error::Result;
use crate::source::Lines;
use isobar_api::Region;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A point on Earth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

impl Place {
    /// The angle between two points seen from the centre of the Earth, in radians: grows with the distance.
    pub fn angle_to(self, other: Self) -> f64 {
        let (a, b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let east = (other.longitude - self.longitude).to_radians();
        // The haversine form keeps its precision for near points.
        let half = ((b - a) / 2.0).sin().powi(2) + a.cos() * b.cos() * (east / 2.0).sin().powi(2);
        2.0 * half.sqrt().min(1.0).asin()
    }
}

static PLACES: LazyLock<BTreeMap<Region, Place>> = LazyLock::new(|| {
    const BYTES: &[u8] = include_bytes!("../facts/regions.csv");
    let places = Lines::of_bytes("regions.csv", BYTES).and_then(read_places);
    places.expect("embedded bytes, read by a test of this crate")
});

static OFFSETS: LazyLock<BTreeMap<String, i32>> = LazyLock::new(|| {
    const BYTES: &[u8] = include_bytes!("../facts/utc_offsets.csv");
    let offsets = Lines::of_bytes("utc_offsets.csv", BYTES).and_then(read_offsets);
    offsets.expect("embedded bytes, read by a test of this crate")
});

/// Where a public cloud's region is, to within its city or state.
pub fn place_of(region: &Region) -> Option<Place> {
    PLACES.get(region).copied()
}

/// Minutes east of UTC of a time zone such as `Europe/Paris`, without summer time.
pub(crate) fn standard_utc_offset_min(timezone: &str) -> Option<i32> {
    OFFSETS.get(timezone).copied()
}

fn read_places(lines: Lines) -> Result<BTreeMap<Region, Place>> {
    let mut table = Table::new(lines)?;
    let region = table.column("region")?;
    let [latitude, longitude] = [table.column("latitude")?, table.column("longitude")?];
    let mut places = BTreeMap::new();
    while let Some(row) = table.next_row()? {
        let name = Region::new(row[region].as_str()).map_err(|e| table.bad(e.to_string()))?;
        let latitude = table.number(&row, latitude)?;
        let longitude = table.number(&row, longitude)?;
        places.insert(name, Place { latitude, longitude });
    }
    Ok(places)
}

fn read_offsets(lines: Lines) -> Result<BTreeMap<String, i32>> {
    let mut table = Table::new(lines)?;
    let [zone, offset] = [table.column("zone")?, table.column("standard_utc_offset_min")?];
    let mut offsets = BTreeMap::new();
    while let Some(row) = table.next_row()? {
        offsets.insert(row[zone].clone(), table.number(&row, offset)?);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_tables_are_sound() {
        assert!(OFFSETS.values().all(|m| (-720..=840).contains(m)));
        assert_eq!(standard_utc_offset_min("Asia/Kathmandu"), Some(345));
        assert_eq!(standard_utc_offset_min("America/New_York"), Some(-300));
        assert_eq!(standard_utc_offset_min("Australia/Sydney"), Some(600));
        assert_eq!(standard_utc_offset_min("Mars/Olympus"), None);
        for region in crate::builtin_rtt().regions() {
            assert!(place_of(region).is_some(), "{region}");
        }
    }

    #[test]
    fn distances_are_great_circles() {
        let place = |latitude, longitude| Place { latitude, longitude };
        let quarter = place(0.0, 0.0).angle_to(place(0.0, 90.0));
        assert!((quarter - std::f64::consts::FRAC_PI_2).abs() < 1e-12);
        // Across the date line the short way counts.
        let near = place(0.0, 179.0).angle_to(place(0.0, -179.0));
        assert!((near - 2_f64.to_radians()).abs() < 1e-12);
    }
}
