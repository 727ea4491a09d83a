//! Where the nodes stand: on three sites around the world, in whatever regions the table of round trips has there.

use isobar_api::{ApiError, ErrorCode, Region, rtt::RttMatrix};
use isobar_datasets::place_of;

/// America, Europe, Asia. A table without one of these regions lends the nearest that it has.
const SITES: [&str; 3] = ["us-east-1", "eu-west-1", "ap-northeast-1"];
/// The site of each node, in order of their ids: two, two and one.
const NODE_SITES: [usize; 5] = [0, 1, 2, 0, 1];
/// How many nodes there are.
pub(super) const NODES: usize = NODE_SITES.len();

/// The region of each node, and the round trips between these regions.
pub(super) fn choose(rtt: &RttMatrix, table: &str) -> Result<(Vec<Region>, RttMatrix), ApiError> {
    let bad = |what: String| Err(ApiError::new(ErrorCode::BadDataset, format!("{table}: {what}")));
    let mut sites = Vec::new();
    for site in SITES {
        match nearest(rtt, site) {
            Some(region) if !sites.contains(region) => sites.push(region.clone()),
            Some(region) => return bad(format!("only {region} is anywhere near two of {SITES:?}")),
            None => return bad("it is not known where any of its regions is".into()),
        }
    }
    for a in &sites {
        for b in &sites {
            if rtt.get(a, b).is_none() {
                return bad(format!("no round trip between {a} and {b}"));
            }
        }
    }
    let nodes = NODE_SITES.iter().map(|site| sites[*site].clone()).collect();
    Ok((nodes, rtt.restricted_to(&sites)))
}

/// The region of the table that is nearest to a site.
fn nearest<'a>(rtt: &'a RttMatrix, site: &str) -> Option<&'a Region> {
    let place = place_of(&Region::new(site).expect("legal names")).expect("well-known regions");
    let angle = |region: &&Region| place_of(region).map(|other| place.angle_to(other));
    let known = rtt.regions().filter(|region| angle(region).is_some());
    known.min_by(|a, b| angle(a).unwrap_or(f64::MAX).total_cmp(&angle(b).unwrap_or(f64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_datasets::builtin_rtt;

    fn table(pairs: &[(&str, &str)]) -> RttMatrix {
        let mut rtt = RttMatrix::default();
        for (a, b) in pairs {
            let [a, b] = [a, b].map(|name| Region::new(*name).expect("legal"));
            rtt.set(&a, &b, 90.0);
        }
        rtt
    }

    #[test]
    fn the_built_in_table_has_the_sites_themselves() {
        let (nodes, rtt) = choose(&builtin_rtt(), "built-in").expect("six regions");
        let names: Vec<&str> = nodes.iter().map(Region::as_str).collect();
        assert_eq!(names, ["us-east-1", "eu-west-1", "ap-northeast-1", "us-east-1", "eu-west-1"]);
        assert_eq!(rtt.regions().count(), 3);
    }

    #[test]
    fn another_clouds_table_lends_its_nearest_regions() {
        let pairs = [
            ("us-east4", "europe-west2"),
            ("us-east4", "asia-northeast1"),
            ("europe-west2", "asia-northeast1"),
        ];
        let (nodes, _) = choose(&table(&pairs), "gcp.csv").expect("three continents");
        assert_eq!(nodes[0].as_str(), "us-east4");
        assert_eq!(nodes[2].as_str(), "asia-northeast1");
    }

    #[test]
    fn tables_that_do_not_span_the_world_are_refused_by_name() {
        for (pairs, why) in [
            (&[("us-east-1", "eu-west-1")][..], "two of"),
            (&[("nowhere-1", "nowhere-2")], "not known where"),
            (&[("us-east-1", "eu-west-1"), ("us-east-1", "ap-northeast-1")], "no round trip"),
        ] {
            let error = choose(&table(pairs), "t.csv").expect_err("refused");
            assert!(
                error.message.starts_with("t.csv") && error.message.contains(why),
                "{}",
                error.message
            );
        }
    }
}
