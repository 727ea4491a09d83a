//! The registry on every database there is.

use super::*;
use crate::store::testing::databases;
use serde_json::json;

fn addition(name: &str, package: &str) -> Addition {
    Addition {
        name: name.into(),
        task: "hazard".into(),
        seed: 7,
        package_hash: package.into(),
        schema_hash: "s".into(),
        data_hash: "d".into(),
        metrics: json!({ "auc_pr": 0.13 }),
    }
}

fn at(at_unix_ms: u64) -> Order<'static> {
    Order { owner: "ann", at_unix_ms }
}

async fn registries() -> Vec<(crate::store::testing::TestDatabase, Registry)> {
    let mut all = Vec::new();
    for database in databases().await {
        let store = database.open().await;
        all.push((database, Registry { store }));
    }
    all
}

fn code(error: Error) -> ErrorCode {
    ApiError::from(error).code
}

#[tokio::test]
async fn versions_count_up_and_aliases_follow() {
    for (database, registry) in registries().await {
        let first = registry.add(&addition("disks", "p1"), at(1)).await.expect("added");
        assert_eq!((first.version, first.parent), (1, None));
        let again = registry.add(&addition("disks", "p1"), at(2)).await.expect("known");
        assert_eq!(again, first, "the same package is the same version");
        let change = registry.promote("disks", 1, "first", at(3)).await.expect("promoted");
        assert_eq!((change.from, change.to, change.owner.as_str()), (None, 1, "ann"));
        let second = registry.add(&addition("disks", "p2"), at(4)).await.expect("added");
        assert_eq!((second.version, second.parent), (2, Some(1)), "lineage");
        // Another process sees all of it.
        let model = Registry { store: database.open().await }.model("disks").await.expect("there");
        assert_eq!(model.aliases, [("challenger".into(), 2), ("champion".into(), 1)].into());
        assert_eq!((model.versions.len(), model.changes.len()), (2, 1));
        let run = registry.run(&second.run_id).await.expect("its run");
        assert_eq!((run.seed, &run.body), (7, &json!({ "metrics": { "auc_pr": 0.13 } })));
        assert_eq!(registry.version("disks", "challenger").await.expect("alias"), second);
        assert_eq!(registry.versions_of("p1").await.expect("sql"), [first]);
    }
}

#[tokio::test]
async fn rolling_back_goes_back_one_promotion_at_a_time() {
    for (_database, registry) in registries().await {
        for (n, package) in ["p1", "p2", "p3"].iter().enumerate() {
            registry.add(&addition("m", package), at(n as u64)).await.expect("added");
        }
        for version in [1, 3, 2] {
            registry.promote("m", version, "better", at(9)).await.expect("promoted");
        }
        let back = registry.rollback("m", "worse at night", at(10)).await.expect("back");
        assert_eq!((back.from, back.to), (Some(2), 3));
        let back = registry.rollback("m", "this one too", at(11)).await.expect("back");
        assert_eq!((back.from, back.to), (Some(3), 1));
        assert_eq!(
            code(registry.rollback("m", "?", at(12)).await.expect_err("the first")),
            ErrorCode::InvalidArgument
        );
        registry.promote("m", 2, "mended", at(13)).await.expect("promoted");
        assert_eq!(registry.rollback("m", "no", at(14)).await.expect("back").to, 1);
        let model = registry.model("m").await.expect("there");
        assert_eq!(model.aliases.get(CHAMPION), Some(&1));
        let whys: Vec<&str> = model.changes.iter().map(|c| c.why.as_str()).collect();
        assert_eq!(
            whys,
            ["better", "better", "better", "worse at night", "this one too", "mended", "no"]
        );
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    for (_database, registry) in registries().await {
        registry.add(&addition("m", "p1"), at(1)).await.expect("added");
        registry.promote("m", 1, "first", at(1)).await.expect("promoted");
        let before = registry.models().await.expect("sql");
        for name in ["", ".", "../m", "a/b", "a b", "ä", &"x".repeat(65)] {
            let refused = registry.add(&addition(name, "p9"), at(2)).await.expect_err(name);
            assert_eq!(code(refused), ErrorCode::InvalidArgument, "{name}");
        }
        let other = Addition { task: "forecast".into(), ..addition("m", "p2") };
        assert_eq!(
            code(registry.add(&other, at(2)).await.expect_err("task")),
            ErrorCode::InvalidArgument
        );
        let promote = async |version, why| {
            code(registry.promote("m", version, why, at(2)).await.expect_err("refused"))
        };
        assert_eq!(promote(2, "x").await, ErrorCode::NoSuchModel);
        assert_eq!(promote(1, "again").await, ErrorCode::InvalidArgument);
        assert_eq!(promote(1, "  ").await, ErrorCode::InvalidArgument);
        assert_eq!(code(registry.model("n").await.expect_err("none")), ErrorCode::NoSuchModel);
        assert_eq!(
            code(registry.version("m", "best").await.expect_err("none")),
            ErrorCode::NoSuchModel
        );
        assert_eq!(registry.models().await.expect("sql"), before);
    }
}

#[tokio::test]
async fn many_at_once_get_different_versions() {
    for (database, _registry) in registries().await {
        let (a, b) =
            (Registry { store: database.open().await }, Registry { store: database.open().await });
        let add = async |registry: &Registry, side: &str| {
            for n in 0..8 {
                registry.add(&addition("m", &format!("{side}{n}")), at(n)).await.expect("added");
            }
        };
        tokio::join!(add(&a, "a"), add(&b, "b"));
        let versions = a.model("m").await.expect("there").versions;
        assert_eq!(
            versions.iter().map(|v| v.version).collect::<Vec<_>>(),
            (1..=16).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn judgements_are_found_by_package_newest_first() {
    for (_database, registry) in registries().await {
        for started in [5, 9] {
            let run = Run {
                run_id: String::new(),
                experiment_id: 0,
                kind: RunKind::Evaluate,
                owner: "ann".into(),
                started_unix_ms: started,
                ended_unix_ms: started + 1,
                seed: 1,
                data_hash: "d".into(),
                package_hash: "p".into(),
                body: json!({ "n": started }),
            };
            assert_eq!(registry.record("m", run).await.expect("recorded").run_id.len(), 32);
        }
        let found = registry.evaluations("p", 10).await.expect("sql");
        assert_eq!(found.iter().map(|r| r.started_unix_ms).collect::<Vec<_>>(), [9, 5]);
        assert!(registry.evaluations("q", 10).await.expect("sql").is_empty());
    }
}
