//! Machines with errors, maintenance and failures.

use super::rows;
use super::time::iso_hours;
use crate::csv::Table;
use crate::error::Result;

/// (time in h since 1970, machine, number of the kind from 1 on).
pub type MachineEvent = (f64, u32, u8);

/// What is known of one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineRow {
    /// Its number.
    pub id: u32,
    /// Number of its model, 0 where it has none.
    pub model: u32,
    /// Years in service.
    pub age_years: f32,
}

/// Everything that happened to a fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MachineEvents {
    /// By number.
    pub machines: Vec<MachineRow>,
    /// Failed components, by machine and time.
    pub failures: Vec<MachineEvent>,
    /// Errors that stopped nothing.
    pub errors: Vec<MachineEvent>,
    /// Components replaced, by plan or after a failure.
    pub maintenance: Vec<MachineEvent>,
}

impl MachineEvents {
    pub(super) fn joined(mut self, other: Self) -> Self {
        self.machines.extend(other.machines);
        self.failures.extend(other.failures);
        self.errors.extend(other.errors);
        self.maintenance.extend(other.maintenance);
        self
    }

    pub(super) fn sort(&mut self) {
        self.machines.sort_by_key(|machine| machine.id);
        for events in [&mut self.failures, &mut self.errors, &mut self.maintenance] {
            events.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.total_cmp(&b.0)).then(a.2.cmp(&b.2)));
        }
    }
}

/// `None` where the table has machines but is none of the four.
pub(super) fn read(table: Table) -> Result<Option<MachineEvents>> {
    let id = table.column("machineID")?;
    let mut events = MachineEvents::default();
    if let (Some(model), Some(age)) = (table.optional_column("model"), table.optional_column("age"))
    {
        events.machines = rows(table, |table, row| {
            Ok(MachineRow {
                id: table.number(row, id)?,
                model: trailing_number(&row[model]).unwrap_or(0),
                age_years: super::finite(table, row, age)? as f32,
            })
        })?;
        return Ok(Some(events));
    }
    let Some(time) = table.optional_column("datetime") else { return Ok(None) };
    let kinds = ["failure", "errorID", "comp"];
    let Some((which, kind)) = kinds
        .iter()
        .enumerate()
        .find_map(|(which, name)| Some((which, table.optional_column(name)?)))
    else {
        return Ok(None);
    };
    let all = rows(table, |table, row| {
        let text = &row[time];
        let at_h = iso_hours(text).ok_or_else(|| table.bad(format!("`{text}` is no date")))?;
        let number = trailing_number(&row[kind]).and_then(|n| u8::try_from(n).ok());
        let number =
            number.ok_or_else(|| table.bad(format!("`{}` has no small number", row[kind])))?;
        Ok((at_h, table.number(row, id)?, number))
    })?;
    match which {
        0 => events.failures = all,
        1 => events.errors = all,
        _ => events.maintenance = all,
    }
    Ok(Some(events))
}

/// 3 of `error3`.
fn trailing_number(text: &str) -> Option<u32> {
    text.trim().trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok()
}
