//! Reaching the cluster: configuration and global options become clients.

use crate::{
    args::Global,
    config::{Flag, Settings, Sources, load},
    units::show_ms,
};
use figment::value::Value;
use isobar_api::{ApiError, ErrorCode, limits::DEADLINE_MS_MAX};
use isobar_client::{Client, ControllerClient};

/// The configuration with global options and further flags on top.
pub fn settings(global: &Global, flags: Vec<Flag>) -> Result<Settings, ApiError> {
    let mut all = Vec::new();
    if !global.connect.is_empty() {
        all.push(Flag::new("client.connect", list(&global.connect)));
    }
    if let Some(controller) = &global.controller {
        all.push(Flag::new("client.controller", controller.as_str()));
    }
    if let Some(timeout_ms) = global.timeout {
        all.push(Flag::new("client.timeout_ms", timeout_ms));
    }
    all.extend(flags);
    load(&Sources::of_process(global.config.as_deref(), all))
}

/// A list as a configuration value.
pub fn list<T: ToString>(items: &[T]) -> Value {
    Value::from(items.iter().map(ToString::to_string).collect::<Vec<String>>())
}

/// A connection to the cluster.
pub async fn cluster(global: &Global) -> Result<Client, ApiError> {
    Client::connect(client_settings(global)?.client_config()).await
}

/// A connection to the controller.
pub fn controller(global: &Global) -> Result<ControllerClient, ApiError> {
    let client = client_settings(global)?.client;
    ControllerClient::new(&client.controller, client.timeout_ms)
}

fn client_settings(global: &Global) -> Result<Settings, ApiError> {
    let settings = settings(global, Vec::new())?;
    if !(1..=DEADLINE_MS_MAX).contains(&settings.client.timeout_ms) {
        let longest = show_ms(DEADLINE_MS_MAX);
        let message = format!("--timeout (client.timeout_ms) must be 1ms to {longest}");
        return Err(ApiError::new(ErrorCode::BadConfig, message));
    }
    Ok(settings)
}

/// Who gives an order, for the record.
pub fn owner() -> String {
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    name.ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "operator".into())
}
