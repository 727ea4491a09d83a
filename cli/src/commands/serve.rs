//! What `isobar node` and `isobar controller` have in common: they serve until they are told to stop.

use crate::{
    config::{Flag, Settings},
    processes::{exit_with_parent, stop_on_signal},
    reach,
};
use clap::Args;
use figment::value::Value;
use isobar_api::ApiError;
use isobar_telemetry::observability::{Guard, init};
use tokio_util::sync::CancellationToken;

/// Options of both.
#[derive(Args, Debug, Default)]
pub struct Serve {
    /// Any key of the configuration
    #[arg(long = "set", value_parser = Flag::parse, value_name = "KEY=VALUE")]
    set: Vec<Flag>,
    /// Stop when stdin ends: the parent holds it open as long as it lives
    #[arg(long)]
    exit_with_parent: bool,
}

impl Serve {
    /// All options as configuration: those of the command itself cover `--set`.
    pub(super) fn flags(&self, own: Vec<Flag>) -> Vec<Flag> {
        self.set.iter().cloned().chain(own).collect()
    }

    /// Sets up logs, traces and the ways to be told to stop. The guard sends the last traces when it is dropped.
    pub(super) fn begin(
        &self,
        settings: &Settings,
        service: &str,
        instance: &str,
    ) -> Result<(Guard, CancellationToken), ApiError> {
        settings.telemetry.validate()?;
        let traces = init(&settings.observability(service, instance))?;
        let stop = stop_on_signal()?;
        if self.exit_with_parent {
            exit_with_parent(stop.clone());
        }
        Ok((traces, stop))
    }
}

/// Options that were given, as configuration.
#[derive(Default)]
pub(super) struct Given(pub(super) Vec<Flag>);

impl Given {
    /// A key and its option.
    pub(super) fn take(&mut self, key: &str, value: Option<impl Into<Value>>) {
        self.0.extend(value.map(|value| Flag::new(key, value)));
    }

    /// A key and an option that may be repeated; none: not given.
    pub(super) fn take_list<T: ToString>(&mut self, key: &str, items: &[T]) {
        self.take(key, (!items.is_empty()).then(|| reach::list(items)));
    }
}
