//! `isobar table`: what is stored, where it may lie, how often.

use crate::{
    args::Global,
    failure::Outcome,
    reach,
    screen::{Screen, table as grid},
};
use clap::{Args, Subcommand};
use isobar_api::{
    Region, ShardEntry,
    table::{AckLevel, TableInfo, TableRule, TableSpec, TableState},
};
use serde_json::json;

/// The verbs of `table`.
#[derive(Debug, Subcommand)]
pub enum Table {
    /// Create a table; creating an equal one again does nothing
    Create(Create),
    /// List the tables
    List,
    /// Show one table with its shards
    Describe {
        /// Table
        name: String,
    },
}

/// `table create`
#[derive(Args, Debug)]
pub struct Create {
    /// Name: a lower-case letter, then letters, digits, _ or -
    name: String,
    /// Regions that may hold its data [default: every region]
    #[arg(long, value_delimiter = ',', value_name = "REGION,...")]
    regions: Vec<Region>,
    /// Voters of each shard: never fewer
    #[arg(long, default_value_t = 3, value_name = "N")]
    replicas: u8,
    /// Most replicas of a shard, learners included [default: replicas + 2, at most 9]
    #[arg(long, value_name = "N")]
    replicas_max: Option<u8>,
    /// When a write counts as done: majority, all, a number of voters, or leader (fast, may be lost)
    #[arg(long, default_value = "majority", value_name = "LEVEL")]
    ack: AckLevel,
    /// Keys at which the table is cut into shards from the start, ascending
    #[arg(long, value_delimiter = ',', value_name = "KEY,...")]
    split_keys: Vec<String>,
    /// Start on the nodes where hashing put the shards of another table: for what is read together
    #[arg(long, value_name = "TABLE")]
    placed_like: Option<String>,
}

impl Create {
    fn spec(self) -> TableSpec {
        let widest = (self.replicas.saturating_add(2)).min(isobar_api::limits::REPLICAS_MAX);
        let rule = TableRule {
            regions: self.regions,
            replicas: self.replicas,
            replicas_max: self.replicas_max.unwrap_or(widest.max(self.replicas)),
            ack: self.ack,
        };
        let Self { name, split_keys, placed_like, .. } = self;
        TableSpec { name, rule, split_keys, placed_like }
    }
}

/// Runs a verb.
pub async fn run(verb: Table, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    match verb {
        Table::Create(args) => {
            let spec = args.spec();
            spec.validate()?;
            if spec.rule.ack == AckLevel::Leader {
                screen.say("note: with --ack leader a failover may lose acknowledged writes");
            }
            let info = reach::cluster(global).await?.create_table(&spec).await?;
            screen.show(&info, |info| {
                format!("table {} ready with {} shards", info.spec.name, info.first_shards.len())
            })
        }
        Table::List => {
            let tables = reach::cluster(global).await?.list_tables().await?;
            screen.show(&tables, |tables| listing(tables))
        }
        Table::Describe { name } => {
            let client = reach::cluster(global).await?;
            let info = client.table(&name).await?.info().clone();
            let mut shards = client.shard_map().await?;
            shards.retain(|shard| shard.table_id == info.table_id);
            shards.sort_by(|a, b| a.range.cmp(&b.range));
            let document = json!({ "table": info, "shards": shards });
            screen.show(&document, |_| description(&info, &shards))
        }
    }
}

fn regions(rule: &TableRule) -> String {
    if rule.regions.is_empty() {
        return "every region".into();
    }
    rule.regions.iter().map(Region::as_str).collect::<Vec<_>>().join(",")
}

fn state(info: &TableInfo) -> &'static str {
    match info.state {
        TableState::Creating => "creating",
        TableState::Ready => "ready",
    }
}

fn listing(tables: &[TableInfo]) -> String {
    let rows = tables.iter().map(|info| {
        [
            info.spec.name.clone(),
            info.table_id.to_string(),
            state(info).into(),
            info.spec.rule.replicas.to_string(),
            info.spec.rule.ack.to_string(),
            regions(&info.spec.rule),
        ]
    });
    grid(["table", "id", "state", "replicas", "ack", "regions"], &[3], rows)
}

fn description(info: &TableInfo, shards: &[ShardEntry]) -> String {
    let rule = &info.spec.rule;
    format!(
        "table     {} ({}), {}\nreplicas  {}, at most {}\nack       {}\nregions   {}\n\n{}",
        info.spec.name,
        info.table_id,
        state(info),
        rule.replicas,
        rule.replicas_max,
        rule.ack,
        regions(rule),
        super::shard::listing(shards, std::slice::from_ref(info)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    #[test]
    fn the_command_of_the_issue_becomes_its_spec() {
        let line = "isobar table create orders --regions eu,us --replicas 3 --ack majority \
                    --split-keys a,b";
        let cli = Cli::try_parse_from(line.split_whitespace()).expect("a legal line");
        let Command::Table(Table::Create(create)) = cli.command else { panic!("create") };
        let spec = create.spec();
        spec.validate().expect("legal");
        assert_eq!((spec.rule.replicas, spec.rule.replicas_max), (3, 5));
        assert_eq!(spec.rule.regions.len(), 2);
        assert_eq!(spec.split_keys, ["a", "b"]);
        assert_eq!(spec.rule.ack, AckLevel::Majority);
    }
}
