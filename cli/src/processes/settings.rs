//! Configuration files for children: what differs from the defaults, and what a reader looks for first.

use isobar_api::{ApiError, ErrorCode};
use isobar_controller::ControllerConfig;
use isobar_node::NodeConfig;
use serde::Serialize;
use toml::{Table, Value};

/// The text of a node's file.
pub fn node_toml(config: &NodeConfig) -> Result<String, ApiError> {
    section(
        "node",
        config,
        &NodeConfig::default(),
        &["node_id", "listen", "data_dir", "region", "zone"],
    )
}

/// The text of a controller's file.
pub fn controller_toml(config: &ControllerConfig) -> Result<String, ApiError> {
    section(
        "controller",
        config,
        &ControllerConfig::default(),
        &["listen", "data_dir", "connect", "mode"],
    )
}

fn section<T: Serialize>(
    name: &str,
    value: &T,
    default: &T,
    always: &[&str],
) -> Result<String, ApiError> {
    let [Value::Table(mut keys), Value::Table(usual)] = [table(value)?, table(default)?] else {
        return Err(ApiError::new(ErrorCode::Internal, format!("[{name}] is no section")));
    };
    keys.retain(|key, value| always.contains(&key) || usual.get(key) != Some(value));
    let file = Table::from_iter([(name.to_owned(), Value::Table(keys))]);
    toml::to_string(&file).map_err(internal)
}

fn table<T: Serialize>(value: &T) -> Result<Value, ApiError> {
    Value::try_from(value).map_err(internal)
}

fn internal(why: toml::ser::Error) -> ApiError {
    ApiError::new(ErrorCode::Internal, format!("writing configuration: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Sources, load};
    use isobar_api::{NodeId, Region, rtt::RttMatrix};
    use std::io::Write;

    fn read(text: &str) -> Settings {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("room");
        load(&Sources { file: Some(file.path()), ..Sources::default() }).expect("it reads back")
    }

    #[test]
    fn a_nodes_file_reads_back_and_is_short() {
        let [a, b] = ["eu-west-1", "us-east-1"].map(|r| Region::new(r).expect("legal"));
        let mut wan = RttMatrix::default();
        wan.set(&a, &b, 70.5);
        let mut config = NodeConfig {
            node_id: NodeId(2),
            region: a,
            wan,
            seeds: vec!["127.0.0.1:7411".into()],
            founders: vec![NodeId(1), NodeId(2)],
            ..NodeConfig::default()
        };
        config.raft.heartbeat_ms = 400;
        let text = node_toml(&config).expect("plain data");
        assert_eq!(read(&text).node, config);
        assert!(!text.contains("requests_max"), "{text}");
    }

    #[test]
    fn a_controllers_file_reads_back() {
        let config = ControllerConfig {
            tick_ms: 500,
            policy: Some("p.toml".into()),
            ..ControllerConfig::default()
        };
        let text = controller_toml(&config).expect("plain data");
        assert_eq!(read(&text).controller, config);
        assert!(text.contains("listen") && !text.contains("lease_ms"), "{text}");
    }
}
