//! The policy: read, validated, compared, stored with a version.

use super::Core;
use crate::{
    clock::now_unix_ms,
    config::ControllerConfig,
    error::Error,
    store::{Grant, Store},
};
use isobar_api::{
    ApiError, ErrorCode,
    policy::{Policy, PolicyChange, PolicyState},
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// Largest policy text, bytes.
const POLICY_BYTES_MAX: usize = 64 * 1024;

/// The stored policy, or the one that a first start would store (as version 0).
pub(super) async fn load(
    store: &Store,
    config: &ControllerConfig,
) -> Result<(u64, String, Policy), Error> {
    if let Some((version, text)) = store.policy().await? {
        let policy = parse(&text)?;
        return Ok((version, text, policy));
    }
    let text = match &config.policy {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|source| Error::File { path: path.display().to_string(), source })?,
    };
    let policy = parse(&text)?;
    Ok((0, text, policy))
}

/// Stores the first policy, if none is stored yet.
pub(super) async fn store_first(core: &Arc<Core>, grant: Grant) -> Result<(), Error> {
    let (version, text, _) = load(&core.store, &core.config).await?;
    if version == 0 {
        core.store.put_policy(grant, 0, &text, "config", now_unix_ms()).await?;
    }
    Ok(())
}

/// Reads and validates a policy.
pub(super) fn parse(text: &str) -> Result<Policy, ApiError> {
    if text.len() > POLICY_BYTES_MAX {
        let why = format!("a policy has at most {POLICY_BYTES_MAX} bytes");
        return Err(ApiError::new(ErrorCode::BadPolicy, why));
    }
    let policy: Policy = toml::from_str(text)
        .map_err(|why| ApiError::new(ErrorCode::BadPolicy, why.to_string().trim_end()))?;
    policy.validate()?;
    Ok(policy)
}

/// Keys whose values differ, in key order.
pub(super) fn changes(old: &Policy, new: &Policy) -> Vec<PolicyChange> {
    let (old, new) = (flat(old), flat(new));
    let show = |value: Option<&String>| value.cloned().unwrap_or_else(|| "unset".into());
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let differs = |key: &&String| old.get(*key) != new.get(*key);
    keys.into_iter()
        .filter(differs)
        .map(|key| PolicyChange {
            key: key.clone(),
            old: show(old.get(key)),
            new: show(new.get(key)),
        })
        .collect()
}

fn flat(policy: &Policy) -> BTreeMap<String, String> {
    fn walk(prefix: &str, value: &Value, out: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let key =
                        if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    walk(&key, field, out);
                }
            }
            other => drop(out.insert(prefix.to_owned(), other.to_string())),
        }
    }
    let mut out = BTreeMap::new();
    let value = serde_json::to_value(policy).expect("a policy is plain data");
    walk("", &value, &mut out);
    out
}

impl Core {
    /// The active policy.
    pub(super) fn policy_state(&self) -> PolicyState {
        let live = self.live();
        PolicyState {
            version: live.policy_version,
            dry_run: false,
            changes: Vec::new(),
            policy: (*live.policy).clone(),
            toml: live.policy_toml.clone(),
        }
    }

    /// What a new policy would change; with a term, it is stored and in force.
    pub(super) async fn apply_policy(
        &self,
        grant: Option<Grant>,
        text: &str,
        owner: &str,
    ) -> Result<PolicyState, Error> {
        let policy = parse(text)?;
        let (base, old) = {
            let live = self.live();
            (live.policy_version, live.policy.clone())
        };
        let mut state = PolicyState {
            version: base,
            dry_run: grant.is_none(),
            changes: changes(&old, &policy),
            policy: policy.clone(),
            toml: text.to_owned(),
        };
        let Some(grant) = grant else { return Ok(state) };
        state.version = self.store.put_policy(grant, base, text, owner, now_unix_ms()).await?;
        let mut live = self.live();
        live.policy_version = state.version;
        live.policy_toml = text.to_owned();
        live.policy = Arc::new(policy);
        tracing::info!(version = state.version, owner, changes = state.changes.len(), "new policy");
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_key_old_and_new() {
        let new =
            parse("[balance]\ndwell_s = 60\n[split]\nrequests_per_s_max = 100.0").expect("valid");
        let changes = changes(&Policy::default(), &new);
        let shown: Vec<String> =
            changes.iter().map(|c| format!("{} {} {}", c.key, c.old, c.new)).collect();
        assert_eq!(shown, ["balance.dwell_s 300 60", "split.requests_per_s_max 2500.0 100.0"]);
    }

    #[test]
    fn a_bad_policy_is_refused_with_its_place() {
        let typo = parse("[balance]\ndwel_s = 60").expect_err("an unknown key");
        assert_eq!(typo.code, ErrorCode::BadPolicy);
        assert!(typo.message.contains("dwel_s"), "{}", typo.message);
        assert!(parse("[budget]\nactive_max = 0").is_err());
        assert!(parse(&"#".repeat(POLICY_BYTES_MAX + 1)).is_err());
    }
}
