//! People by country and city, in the columns of the population set.

use crate::csv::Table;
use crate::error::{Error, Result};
use crate::source::Lines;
use std::path::{Path, PathBuf};

const MAX_ROWS: usize = 1_000_000;

/// A country.
#[derive(Clone, Debug, PartialEq)]
pub struct Country {
    /// Two letters, ISO 3166.
    pub iso: String,
    /// In English.
    pub name: String,
    /// People.
    pub population: u64,
}

/// A city.
#[derive(Clone, Debug, PartialEq)]
pub struct City {
    /// As the source writes it.
    pub name: String,
    /// Two letters, ISO 3166.
    pub country: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// People.
    pub population: u64,
    /// For instance `Europe/Paris`.
    pub timezone: String,
}

/// Reads a table of countries.
pub fn read_countries(path: &Path) -> Result<Vec<Country>> {
    let mut table = Table::new(Lines::open(path)?)?;
    let [iso, name] = [table.column("iso")?, table.column("name")?];
    let population = table.column("population")?;
    let mut countries = Vec::new();
    while let Some(row) = table.next_row()? {
        check_count(&table, countries.len())?;
        let population = table.number(&row, population)?;
        let (iso, name) = (row[iso].clone(), row[name].clone());
        countries.push(Country { iso, name, population });
    }
    Ok(countries)
}

/// Reads a table of cities.
pub fn read_cities(path: &Path) -> Result<Vec<City>> {
    cities(Lines::open(path)?)
}

/// Finds the table of cities in a folder: the first file, in name order, whose header has the columns.
pub(crate) fn cities_in(folder: &Path) -> Result<Vec<City>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        files.push(entry.map_err(|e| Error::io(folder, e))?.path());
    }
    files.sort();
    for path in files.iter().filter(|path| path.is_file()) {
        let table = match Lines::open(path).and_then(Table::new) {
            Ok(table) => table,
            // A file that may not be read could be the one; a file that is no table is not.
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(_) => continue,
        };
        let columns = ["latitude", "longitude", "population", "timezone"];
        if columns.iter().all(|name| table.optional_column(name).is_some()) {
            return read_cities(path);
        }
    }
    let what = "holds no table of cities (latitude, longitude, population, timezone)";
    Err(Error::file(folder.display().to_string(), what))
}

fn cities(lines: Lines) -> Result<Vec<City>> {
    let mut table = Table::new(lines)?;
    let [name, country] = [table.column("name")?, table.column("countrycode")?];
    let [latitude, longitude] = [table.column("latitude")?, table.column("longitude")?];
    let [population, timezone] = [table.column("population")?, table.column("timezone")?];
    let mut cities = Vec::new();
    while let Some(row) = table.next_row()? {
        check_count(&table, cities.len())?;
        let city = City {
            name: row[name].clone(),
            country: row[country].clone(),
            latitude: table.number(&row, latitude)?,
            longitude: table.number(&row, longitude)?,
            population: table.number(&row, population)?,
            timezone: row[timezone].clone(),
        };
        let on_earth =
            (-90.0..=90.0).contains(&city.latitude) && (-180.0..=180.0).contains(&city.longitude);
        if !on_earth {
            return Err(table.bad("latitude or longitude is out of range"));
        }
        cities.push(city);
    }
    Ok(cities)
}

fn check_count(table: &Table, count: usize) -> Result<()> {
    match count < MAX_ROWS {
        true => Ok(()),
        false => Err(table.bad(format!("more than {MAX_ROWS} rows"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CITIES: &str = "geonameid,name,countrycode,latitude,longitude,population,timezone\n\
        1,\"Here, There\",IE,53.3,-6.2,1000,Europe/Dublin\n";

    #[test]
    fn tables_are_found_by_their_columns() {
        let dir = tempfile::tempdir().expect("temporary folder");
        assert!(matches!(cities_in(dir.path()), Err(Error::File { .. })));
        let countries = "iso,iso3,name,population\nIE,IRL,Ireland,4853506\n";
        std::fs::write(dir.path().join("a.csv"), countries).expect("writes");
        std::fs::write(dir.path().join("b.csv"), CITIES).expect("writes");
        let cities = cities_in(dir.path()).expect("found");
        assert_eq!(cities[0].name, "Here, There");
        assert_eq!(cities[0].population, 1000);
        let countries = read_countries(&dir.path().join("a.csv")).expect("legal");
        assert_eq!(countries[0].population, 4_853_506);
    }

    #[test]
    fn places_off_the_earth_are_refused() {
        let text = CITIES.replace("53.3", "153.3").into_bytes().leak();
        let lines = Lines::of_bytes("c.csv", text).expect("bytes");
        assert!(matches!(cities(lines), Err(Error::Line { line: 2, .. })));
    }
}
