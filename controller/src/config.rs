//! Configuration of the controller. Every field has a default; unknown fields are refused.

use crate::{lease::LEASE_MS_MAX, nodes::check_addresses};
use isobar_api::{ApiError, ErrorCode, policy::Mode, rtt::RttMatrix};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf};

/// Where the controller lives, whom it watches, and how it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControllerConfig {
    /// Where it serves gRPC and HTTP, on one port. Loopback unless told otherwise.
    pub listen: SocketAddr,
    /// Where the SQLite file lies, unless `database_url` is given.
    pub data_dir: PathBuf,
    /// `postgres://…`, where several controllers stand by. Default: SQLite in `data_dir`.
    pub database_url: Option<String>,
    /// Addresses (`HOST:PORT`) of a few nodes to start from; the others are learned from them.
    pub connect: Vec<String>,
    /// Mode of autonomy at the very first start; afterwards the stored one holds.
    pub mode: Mode,
    /// Policy file for the very first start; afterwards the stored one holds.
    pub policy: Option<PathBuf>,
    /// Round-trip times between regions, milliseconds.
    pub rtt: RttMatrix,
    /// How often the controller looks and plans, milliseconds.
    pub tick_ms: u64,
    /// Seed for ties between equal plans.
    pub seed: u64,
    /// How long a controller that stopped without a word keeps the lease, milliseconds.
    pub lease_ms: u64,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7420)),
            data_dir: PathBuf::from("data/controller"),
            database_url: None,
            connect: vec!["127.0.0.1:7411".into()],
            mode: Mode::Observe,
            policy: None,
            rtt: RttMatrix::default(),
            tick_ms: 1_000,
            seed: 1,
            lease_ms: 5_000,
        }
    }
}

impl ControllerConfig {
    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<(), ApiError> {
        let bad = |why: String| Err(ApiError::new(ErrorCode::BadConfig, why));
        if self.connect.is_empty() {
            return bad("connect must name at least one node".into());
        }
        check_addresses(&self.connect)?;
        if !(50..=60_000).contains(&self.tick_ms) {
            return bad(format!("tick_ms must be 50 to 60000, not {}", self.tick_ms));
        }
        if !(500..=LEASE_MS_MAX).contains(&self.lease_ms) {
            return bad(format!("lease_ms must be 500 to {LEASE_MS_MAX}, not {}", self.lease_ms));
        }
        let regions: Vec<_> = self.rtt.regions().collect();
        for a in &regions {
            for b in &regions {
                if self.rtt.get(a, b).is_some_and(|ms| !ms.is_finite() || ms < 0.0) {
                    return bad(format!("rtt from {a} to {b} must not be negative"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_an_empty_file_means_them() {
        let read: ControllerConfig = toml::from_str("").expect("an empty file");
        assert_eq!(read, ControllerConfig::default());
        read.validate().expect("defaults hold");
        assert!(read.listen.ip().is_loopback());
    }

    #[test]
    fn unknown_keys_and_values_that_cannot_work_are_named() {
        assert!(toml::from_str::<ControllerConfig>("tik_ms = 3").is_err());
        let refused = |text: &str| {
            let config: ControllerConfig = toml::from_str(text).expect("well-formed");
            config.validate().expect_err("it cannot work")
        };
        assert!(refused("tick_ms = 1").message.contains("tick_ms"));
        assert!(refused("connect = []").message.contains("connect"));
        assert_eq!(refused("connect = ['nowhere']").code, ErrorCode::BadAddress);
        assert!(
            refused("rtt = { eu = { us = -1.0 }, us = { eu = -1.0 } }").message.contains("rtt")
        );
    }
}
