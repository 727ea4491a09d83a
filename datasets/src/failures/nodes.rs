//! Nodes of supercomputers and their GPUs.

use super::time::{american_hours, iso_hours};
use super::{finite, rows};
use crate::csv::Table;
use crate::error::Result;

/// An interval in which a node was up, or down.
#[derive(Clone, Debug, PartialEq)]
pub struct UpDown {
    /// Name: site, cluster and node with slashes between.
    pub node: String,
    /// Whether it was up.
    pub up: bool,
    /// Begin, h since 1970.
    pub start_h: f64,
    /// End, h since 1970.
    pub stop_h: f64,
}

/// An outage of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Outage {
    /// System and node number.
    pub node: String,
    /// The system.
    pub system: String,
    /// Processors in the node; NaN where not given.
    pub processors: f32,
    /// When it began, h since 1970.
    pub start_h: f64,
    /// How long, h; NaN where not given.
    pub down_h: f32,
    /// Place of the cause in [`Outage::CAUSES`].
    pub cause: usize,
}

impl Outage {
    /// Columns of causes in the source; the last stands for no cause given.
    pub const CAUSES: [&'static str; 6] =
        ["Facilities", "Hardware", "Human Error", "Network", "Software", "Undetermined"];
}

/// One stay of a GPU in one place.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuLife {
    /// Serial number.
    pub gpu: String,
    /// Where: column, row, cage, slot, node.
    pub place: [f32; 5],
    /// Put in, h since 1970.
    pub insert_h: f64,
    /// Taken out, or the end of the watch, h since 1970.
    pub remove_h: f64,
    /// Whether an error ended it (double bit error, or off the bus).
    pub failed: bool,
}

pub(super) fn read_up_down(table: Table) -> Result<Vec<UpDown>> {
    let [id, kind, start, stop] = [
        table.column("node_id")?,
        table.column("event_type")?,
        table.column("event_start_time")?,
        table.column("event_stop_time")?,
    ];
    let name = table.optional_column("node_name").unwrap_or(id);
    rows(table, |table, row| {
        let up = match row[kind].trim() {
            "1" => true,
            "0" => false,
            other => return Err(table.bad(format!("`{other}` is neither 0 nor 1"))),
        };
        let hours = |column| Ok(finite(table, row, column)? / 3_600.0);
        Ok(UpDown { node: row[name].clone(), up, start_h: hours(start)?, stop_h: hours(stop)? })
    })
}

pub(super) fn read_outages(table: Table) -> Result<Vec<Outage>> {
    let [system, node, started] =
        [table.column("System")?, table.column("nodenum")?, table.column("Prob Started")?];
    let processors = table.optional_column("procsinnode");
    let down = table.optional_column("Down Time");
    let causes = Outage::CAUSES.map(|name| table.optional_column(name));
    let loose = |row: &[String], column: Option<usize>| {
        let value = column.and_then(|column| row[column].trim().parse::<f32>().ok());
        value.filter(|value| value.is_finite()).unwrap_or(f32::NAN)
    };
    rows(table, |table, row| {
        let text = &row[started];
        let start_h =
            american_hours(text).ok_or_else(|| table.bad(format!("`{text}` is no date")))?;
        let given = |column: &Option<usize>| column.is_some_and(|c| !row[c].trim().is_empty());
        Ok(Outage {
            node: format!("{}/{}", row[system].trim(), row[node].trim()),
            system: row[system].trim().to_owned(),
            processors: loose(row, processors),
            start_h,
            down_h: loose(row, down) / 60.0,
            cause: causes.iter().position(given).unwrap_or(Outage::CAUSES.len() - 1),
        })
    })
}

pub(super) fn read_lives(table: Table) -> Result<Vec<GpuLife>> {
    let [gpu, place, insert, remove, event] = [
        table.column("SN")?,
        table.column("location")?,
        table.column("insert")?,
        table.column("remove")?,
        table.column("event")?,
    ];
    rows(table, |table, row| {
        let hours = |column: usize| {
            let text: &String = &row[column];
            iso_hours(text).ok_or_else(|| table.bad(format!("`{text}` is no date")))
        };
        let remove_h = hours(remove)?;
        // The source has rows that say only that an error was seen: a stay of no length.
        let unsaid = row[insert].trim().is_empty();
        Ok(GpuLife {
            gpu: row[gpu].clone(),
            place: place_of(&row[place]),
            insert_h: if unsaid { remove_h } else { hours(insert)? },
            remove_h,
            failed: !matches!(row[event].trim(), "" | "NA"),
        })
    })
}

/// The numbers of `c11-2c1s4n1`; NaN for those that are not there.
fn place_of(text: &str) -> [f32; 5] {
    let mut place = [f32::NAN; 5];
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    for (place, number) in place.iter_mut().zip(numbers) {
        *place = number.parse().unwrap_or(f32::NAN);
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_five_numbers() {
        assert_eq!(place_of("c11-2c1s4n1"), [11.0, 2.0, 1.0, 4.0, 1.0]);
        let short = place_of("c3-");
        assert!(short[0] == 3.0 && short[1..].iter().all(|n| n.is_nan()));
    }
}
