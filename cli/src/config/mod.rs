//! Configuration of every part: defaults → file → environment → flags. Unknown keys are refused.
//!
//! The sections are the types of the crates they belong to; nothing is copied here. The commented
//! example in `docs/isobar.example.toml` is made from their defaults, and a test keeps it equal.

mod example;
mod keys;
mod load;
mod notes;

pub use example::example;
pub use load::{Flag, Sources, load};

use isobar_api::{ApiError, ErrorCode, Region};
use isobar_client::ClientConfig;
use isobar_controller::ControllerConfig;
use isobar_node::config::NodeConfig;
use isobar_telemetry::observability::{LogFormat, ObservabilityConfig};
use serde::{Deserialize, Serialize};

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Commands that ask a cluster.
    pub client: ClientSettings,
    /// `isobar node`.
    pub node: NodeConfig,
    /// `isobar controller`.
    pub controller: ControllerConfig,
    /// Logs and traces of nodes and controllers.
    pub telemetry: TelemetrySettings,
}

/// How commands reach a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSettings {
    /// Nodes to ask first.
    pub connect: Vec<String>,
    /// The controller.
    pub controller: String,
    /// Region of this machine.
    pub region: Option<Region>,
    /// Longest wait for an answer.
    pub timeout_ms: u64,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            connect: vec!["127.0.0.1:7411".into()],
            controller: "127.0.0.1:7420".into(),
            region: None,
            timeout_ms: 10_000,
        }
    }
}

/// Logs and traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Which log lines appear.
    pub log_filter: String,
    /// How they look.
    pub log_format: LogFormat,
    /// Collector of traces.
    pub otlp_endpoint: Option<String>,
    /// Share of traces recorded.
    pub trace_sample_ratio: f64,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        let defaults = ObservabilityConfig::new("");
        Self {
            log_filter: defaults.log_filter,
            log_format: defaults.log_format,
            otlp_endpoint: defaults.otlp_endpoint,
            trace_sample_ratio: defaults.trace_sample_ratio,
        }
    }
}

impl TelemetrySettings {
    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<(), ApiError> {
        if (0.0..=1.0).contains(&self.trace_sample_ratio) {
            return Ok(());
        }
        let message = "telemetry.trace_sample_ratio must be 0 to 1";
        Err(ApiError::new(ErrorCode::BadConfig, message))
    }
}

impl Settings {
    /// Refuses what cannot work, section by section.
    pub fn validate(&self) -> Result<(), ApiError> {
        self.client_config().validate()?;
        self.node.validate()?;
        self.controller.validate()?;
        self.telemetry.validate()
    }

    /// The client's configuration.
    pub fn client_config(&self) -> ClientConfig {
        ClientConfig {
            region: self.client.region.clone(),
            request_timeout_ms: self.client.timeout_ms,
            ..ClientConfig::with_seeds(self.client.connect.clone())
        }
    }

    /// Set-up of logs and traces for one process.
    pub fn observability(&self, service: &str, instance: &str) -> ObservabilityConfig {
        ObservabilityConfig {
            instance_id: instance.into(),
            log_filter: self.telemetry.log_filter.clone(),
            log_format: self.telemetry.log_format,
            otlp_endpoint: self.telemetry.otlp_endpoint.clone(),
            trace_sample_ratio: self.telemetry.trace_sample_ratio,
            ..ObservabilityConfig::new(service)
        }
    }
}
