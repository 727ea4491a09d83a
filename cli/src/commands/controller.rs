//! `isobar controller`: run one controller until it is told to stop.

use super::serve::{Given, Serve};
use crate::{
    args::Global,
    config::Flag,
    failure::{DONE, Outcome},
    reach,
    screen::Screen,
};
use clap::{Args, ValueHint};
use isobar_api::{ApiError, policy::Mode};
use isobar_controller::ControllerService;
use std::net::SocketAddr;

/// Options cover the file (--config) and the environment; --connect names the nodes to start from.
#[derive(Args, Debug, Default)]
pub struct Controller {
    /// Where it serves
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where its SQLite file lies
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<String>,
    /// PostgreSQL instead of SQLite
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Mode at the very first start: observe, propose or act
    #[arg(long)]
    pub mode: Option<Mode>,
    /// Policy file for the very first start
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub policy: Option<String>,
    /// Options that a node has too.
    #[command(flatten)]
    pub serve: Serve,
}

impl Controller {
    /// The options as configuration.
    fn flags(&self, connect: &[String]) -> Vec<Flag> {
        let mut given = Given::default();
        given.take("controller.listen", self.listen.map(|a| a.to_string()));
        given.take("controller.data_dir", self.data_dir.clone());
        given.take("controller.database_url", self.database_url.clone());
        given.take("controller.mode", self.mode.map(|m| m.to_string()));
        given.take("controller.policy", self.policy.clone());
        given.take_list("controller.connect", connect);
        self.serve.flags(given.0)
    }
}

/// Runs the command: returns when the controller has stopped.
pub async fn run(args: Controller, global: &Global, screen: &mut Screen<'_>) -> Outcome {
    let settings = reach::settings(global, args.flags(&global.connect))?;
    settings.controller.validate()?;
    let instance = settings.controller.listen.to_string();
    let (_traces, stop) = args.serve.begin(&settings, "isobar-controller", &instance)?;
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
