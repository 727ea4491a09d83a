//! What a client needs to know before it starts.

use isobar_api::{ApiError, ErrorCode, Region, limits, rtt::RttMatrix};

/// Makes requests between regions take as long as they would over a real network.
///
/// Every key-value request to a node of another region waits half the round trip before it is sent
/// and half after its answer came. Each request waits for itself: concurrent ones are not held up by
/// one another. Requests inside one region, to nodes of unknown region and map refreshes do not wait.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WanEmulation {
    /// Round-trip times between regions. Regions of nodes are learned from the members.
    pub rtt: RttMatrix,
}

/// Configuration of a [`Client`](crate::Client).
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    /// `host:port` of nodes to ask first. Any one that answers is enough.
    pub seeds: Vec<String>,
    /// Region of this client: prefers replicas there, and is counted as the origin of its requests.
    pub region: Option<Region>,
    /// Longest time for one operation with all its retries, milliseconds.
    pub request_timeout_ms: u64,
    /// Longest time for one attempt before another replica is tried, milliseconds.
    pub attempt_timeout_ms: u64,
    /// Most operations at once, reads and writes apart; further ones wait.
    pub max_in_flight: usize,
    /// Most operations that wait so, reads and writes apart; further ones are refused at once with `ISO-2006`.
    pub queue_max: usize,
    /// How many requests of a hundred operations may be sent again because a node answered `ISO-2006`; beyond, the
    /// answer is returned. 0: none is.
    pub overload_retry_percent: u32,
    /// Known round-trip times between regions, to find the closest replica. Empty: measured instead.
    pub rtt: RttMatrix,
    /// Emulated distances; `None`: the real network.
    pub wan: Option<WanEmulation>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            seeds: vec!["127.0.0.1:7411".into()],
            region: None,
            request_timeout_ms: 10_000,
            attempt_timeout_ms: 2_000,
            max_in_flight: 1_024,
            queue_max: 1_024,
            overload_retry_percent: 10,
            rtt: RttMatrix::default(),
            wan: None,
        }
    }
}

impl ClientConfig {
    /// The defaults with other seeds.
    pub fn with_seeds(seeds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { seeds: seeds.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<(), ApiError> {
        let bad = |message: String| Err(ApiError::new(ErrorCode::BadConfig, message));
        if self.seeds.is_empty() {
            return bad("no node address was given".into());
        }
        for seed in &self.seeds {
            check_address(seed)?;
        }
        let longest = limits::DEADLINE_MS_MAX;
        if self.request_timeout_ms == 0 || self.request_timeout_ms > longest {
            return bad(format!("request_timeout_ms must be 1 to {longest}"));
        }
        if self.attempt_timeout_ms == 0 || self.attempt_timeout_ms > longest {
            return bad(format!("attempt_timeout_ms must be 1 to {longest}"));
        }
        let window = limits::CLIENT_WINDOW_MAX;
        if self.max_in_flight == 0 || self.max_in_flight as u64 > window {
            return bad(format!("max_in_flight must be 1 to {window}"));
        }
        if self.overload_retry_percent > 100 {
            return bad("overload_retry_percent must be 0 to 100".into());
        }
        Ok(())
    }

    /// The round-trip times that routing goes by: the emulated ones where there are any.
    pub(crate) fn distances(&self) -> &RttMatrix {
        self.wan.as_ref().map_or(&self.rtt, |wan| &wan.rtt)
    }
}

/// Refuses an address that is not `host:port`.
pub(crate) fn check_address(address: &str) -> Result<(), ApiError> {
    let port = address
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty() && !host.contains(['/', ' ', '@']))
        .and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(1..) => Ok(()),
        _ => Err(ApiError::new(
            ErrorCode::BadAddress,
            format!("`{address}` is not an address: write host:port with a port of 1 to 65535"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_a_host_and_a_port() {
        for good in ["127.0.0.1:7411", "[::1]:80", "node-3.example:1"] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in ["", "localhost", ":7411", "a:0", "a:70000", "http://a:1", "a b:1"] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_are_checked() {
        ClientConfig::default().validate().expect("defaults hold");
        let none = ClientConfig::with_seeds(Vec::<String>::new());
        let wide = ClientConfig { max_in_flight: 1 << 20, ..ClientConfig::default() };
        let hasty = ClientConfig { request_timeout_ms: 0, ..ClientConfig::default() };
        let eager = ClientConfig { overload_retry_percent: 101, ..ClientConfig::default() };
        for config in [none, wide, hasty, eager] {
            assert_eq!(config.validate().expect_err("refused").code, ErrorCode::BadConfig);
        }
    }
}
