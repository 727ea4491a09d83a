//! `isobar node-list`: the members and their load, as gossip has them.

use crate::{
    args::Global,
    failure::Outcome,
    reach,
    screen::{Screen, table},
    units::{show_bytes, show_number},
};
use isobar_api::report::MemberInfo;

/// Runs the command.
pub async fn run(global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let members = reach::cluster(global).await?.members().await?;
    screen.show(&members, |members| listing(members))
}

fn listing(members: &[MemberInfo]) -> String {
    let rows = members.iter().map(|member| {
        let load = &member.load;
        [
            member.node_id.to_string(),
            member.address.clone(),
            member.region.to_string(),
            member.zone.clone(),
            if member.alive { "alive".into() } else { "dead".into() },
            load.replicas.to_string(),
            load.leaders.to_string(),
            show_number(load.requests_per_s),
            show_number(load.cpu_cores),
            show_number(load.fsync_ms_p99),
            show_bytes(load.disk_free_bytes),
        ]
    });
    let header = [
        "node",
        "address",
        "region",
        "zone",
        "state",
        "replicas",
        "leaders",
        "req/s",
        "cpu",
        "fsync p99 ms",
        "disk free",
    ];
    table(header, &[5, 6, 7, 8, 9, 10], rows)
}
