//! `isobar controller`: run one controller until it is told to stop.

use super::node::stop_on_signal;
use crate::{
    args::Global,
    config::Flag,
    failure::{DONE, Outcome},
    reach,
    screen::Screen,
};
use clap::Args;
use isobar_api::{ApiError, policy::Mode};
use isobar_controller::ControllerService;
use std::{net::SocketAddr, path::PathBuf};

/// Options cover the file (--config) and the environment; --connect names the nodes to start from.
#[derive(Args, Debug, Default)]
pub struct Controller {
    /// Where it serves
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where its SQLite file lies
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// PostgreSQL instead of SQLite
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Mode at the very first start: observe, propose or act
    #[arg(long)]
    pub mode: Option<Mode>,
    /// Policy file for the very first start
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Any key of the configuration
    #[arg(long = "set", value_parser = Flag::parse, value_name = "KEY=VALUE")]
    pub set: Vec<Flag>,
    /// Stop when stdin ends: the parent holds it open as long as it lives
    #[arg(long)]
    pub exit_with_parent: bool,
}

impl Controller {
    /// The flags as configuration.
    pub fn flags(self, connect: &[String]) -> Vec<Flag> {
        let mut flags = self.set;
        let mut text = |key: &str, value: Option<String>| {
            flags.extend(value.map(|value| Flag::new(key, value)));
        };
        text("controller.listen", self.listen.map(|a| a.to_string()));
        text("controller.data_dir", self.data_dir.map(|p| p.display().to_string()));
        text("controller.database_url", self.database_url);
        text("controller.mode", self.mode.map(|m| m.to_string()));
        text("controller.policy", self.policy.map(|p| p.display().to_string()));
        if !connect.is_empty() {
            flags.push(Flag::new("controller.connect", reach::list(connect)));
        }
        flags
    }
}

/// Runs the command: returns when the controller has stopped.
pub async fn run(args: Controller, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let exit_with_parent = args.exit_with_parent;
    let settings = reach::settings(global, args.flags(&global.connect))?;
    settings.controller.validate()?;
    let instance = settings.controller.listen.to_string();
    let telemetry = settings.observability("isobar-controller", &instance);
    let _traces = isobar_telemetry::observability::init(&telemetry).map_err(ApiError::from)?;
    let stop = stop_on_signal()?;
    if exit_with_parent {
        crate::processes::exit_with_parent(stop.clone());
    }
    let service = ControllerService::start(settings.controller).await?;
    screen.say(&format!("controller listens on {}", service.address()));
    service.run(stop.cancelled_owned()).await.map_err(ApiError::from)?;
    Ok(DONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        args::{Cli, Command},
        config::{Sources, load},
    };
    use clap::Parser;

    #[test]
    fn flags_become_the_controllers_configuration() {
        let line = "isobar controller --listen 127.0.0.1:0 --data-dir d --mode act \
                    --connect 127.0.0.1:7411 --set controller.seed=9";
        let cli = Cli::try_parse_from(line.split_whitespace()).expect("a legal line");
        let Command::Controller(controller) = cli.command else { panic!("controller") };
        let flags = controller.flags(&cli.global.connect);
        let config = load(&Sources { flags, ..Sources::default() }).expect("it reads").controller;
        assert_eq!((config.mode, config.seed), (Mode::Act, 9));
        assert_eq!(config.connect, ["127.0.0.1:7411"]);
    }
}
