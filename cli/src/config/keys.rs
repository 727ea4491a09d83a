//! Which keys there are, and what a wrong one was meant to be.

use super::{Settings, notes};
use crate::similar::closest;
use isobar_api::{ApiError, ErrorCode};
use std::collections::BTreeMap;

/// Every key that has a default, dotted, with its default.
pub(super) fn defaults() -> BTreeMap<String, toml::Value> {
    let value =
        toml::Value::try_from(Settings::default()).expect("defaults can be written as TOML");
    leaves(&value)
}

/// The leaves of nested tables, by dotted key. An empty table is a leaf.
pub(super) fn leaves(value: &toml::Value) -> BTreeMap<String, toml::Value> {
    fn walk(path: &str, value: &toml::Value, found: &mut BTreeMap<String, toml::Value>) {
        match value {
            toml::Value::Table(table) if !table.is_empty() => {
                for (key, value) in table {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, value, found);
                }
            }
            _ => {
                found.insert(path.to_owned(), value.clone());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk("", value, &mut found);
    found.remove("");
    found
}

/// Refuses keys that no section has, and says what was probably meant.
pub(super) fn check<'a>(
    source: &str,
    keys: impl IntoIterator<Item = &'a str>,
) -> Result<(), ApiError> {
    let known = known();
    let mut wrong = Vec::new();
    for key in keys {
        let is_known = known.iter().any(|k| k == key);
        // A whole section that is left empty says nothing wrong.
        let is_section = known.iter().any(|k| k.starts_with(&format!("{key}.")));
        let is_open = notes::OPEN.iter().any(|open| key.starts_with(&format!("{open}.")));
        if !is_known && !is_section && !is_open {
            wrong.push(describe(key, &known));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::BadConfig, format!("{source}: {}", wrong.join("; "))))
}

fn known() -> Vec<String> {
    let mut known: Vec<String> = defaults().into_keys().collect();
    known.extend(notes::NOTES.iter().map(|note| note.key.to_owned()));
    known.sort();
    known.dedup();
    known
}

fn describe(key: &str, known: &[String]) -> String {
    let whole = closest(key, known.iter().map(String::as_str));
    let (section, field) = key.rsplit_once('.').unwrap_or(("", key));
    let inside = || {
        let prefix = if section.is_empty() { String::new() } else { format!("{section}.") };
        let siblings: Vec<&str> = known
            .iter()
            .filter_map(|k| k.strip_prefix(&prefix))
            .filter_map(|rest| rest.split('.').next())
            .collect();
        closest(field, siblings).map(|name| format!("{prefix}{name}"))
    };
    // The same field in another section: `listen` belongs below `[node]`.
    let elsewhere = || known.iter().find(|k| k.rsplit('.').next() == Some(field)).cloned();
    match inside().or_else(|| whole.map(str::to_owned)).or_else(elsewhere) {
        Some(meant) => format!("there is no key `{key}`; did you mean `{meant}`?"),
        None => format!("there is no key `{key}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(key: &str) -> String {
        check("f.toml", [key]).expect_err("unknown").message
    }

    #[test]
    fn known_keys_pass() {
        check("f.toml", ["node.listen", "node.raft.heartbeat_ms", "controller.database_url"])
            .expect("known");
        check("f.toml", ["node", "controller.rtt.eu.us"]).expect("a section and an open table");
    }

    #[test]
    fn slips_are_named_with_what_was_meant() {
        assert_eq!(
            complaint("node.lisen"),
            "f.toml: there is no key `node.lisen`; did you mean `node.listen`?"
        );
        assert!(complaint("node.raft.hartbeat_ms").ends_with("`node.raft.heartbeat_ms`?"));
        assert!(complaint("nod.listen").ends_with("`node.listen`?"));
        assert!(complaint("data_dir").contains(".data_dir`?"));
        assert!(complaint("node.zzzzzz").ends_with("there is no key `node.zzzzzz`"));
    }
}
