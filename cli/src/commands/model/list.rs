//! `isobar model list`.

use super::place::Database;
use crate::{
    args::Global,
    failure::Outcome,
    screen::{Screen, table},
    units::show_ms,
};
use clap::Args;
use isobar_controller::registry::{CHALLENGER, CHAMPION, Model};

/// `model list`
#[derive(Args, Debug)]
pub struct List {
    /// Model: shows its versions and who moved its champion
    name: Option<String>,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(args: &List, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let place = args.database.place(global)?;
    let now = screen.now_unix_ms;
    if let Some(name) = &args.name {
        let model = place.open().await?.model(name).await?;
        return screen.show(&model, |model| describe(model, now));
    }
    // Nothing was added yet: that is a list too.
    let models = match place.known().await? {
        Some(registry) => registry.models().await?,
        None => Vec::new(),
    };
    screen.show(&models, |models| {
        let alias =
            |model: &Model, alias| model.aliases.get(alias).map_or("-".into(), u64::to_string);
        let rows = models.iter().map(|model| {
            [
                model.name.clone(),
                model.task.clone(),
                model.versions.len().to_string(),
                alias(model, CHAMPION),
                alias(model, CHALLENGER),
            ]
        });
        table(["name", "task", "versions", CHAMPION, CHALLENGER], &[2, 3, 4], rows)
    })
}

fn ago(at_unix_ms: u64, now: u64) -> String {
    format!("{} ago", show_ms(now.saturating_sub(at_unix_ms)))
}

fn describe(model: &Model, now: u64) -> String {
    let versions = model.versions.iter().map(|version| {
        let aliases = model.aliases.iter().filter(|(_, v)| **v == version.version);
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        [
            version.version.to_string(),
            aliases.map(|(alias, _)| alias.clone()).collect::<Vec<_>>().join(", "),
            version.parent.map_or("-".into(), |parent| parent.to_string()),
            short(&version.package_hash),
            short(&version.data_hash),
            version.owner.clone(),
            ago(version.at_unix_ms, now),
        ]
    });
    let header = ["version", "alias", "parent", "package", "data", "by", "added"];
    let versions = table(header, &[0, 2], versions);
    let changes = model.changes.iter().map(|change| {
        [
            change.action.clone(),
            change.from.map_or("-".into(), |from| from.to_string()),
            change.to.to_string(),
            change.owner.clone(),
            ago(change.at_unix_ms, now),
            change.why.clone(),
        ]
    });
    let changes = table(["change", "from", "to", "by", "when", "why"], &[1, 2], changes);
    format!("{}: {}\n\n{versions}\n{changes}", model.name, model.task)
}
