//! The folder of `isobar up`: which files there are, and what they say at the first start.
//!
//! ```text
//! data/node-1.toml … controller.toml     configuration: yours to edit, read again at every start
//! data/node-1/ … controller/             data
//! data/logs/node-1.log …                 what the processes said
//! data/up.lock                           held by the `up` that runs
//! ```

use crate::{
    commands::up::Up,
    config::{Sources, load},
    failure::{file_error, invalid},
    processes::{controller_toml, node_toml},
};
use isobar_api::{ApiError, ErrorCode, NodeId};
use isobar_controller::ControllerConfig;
use isobar_node::{NodeConfig, config::EngineKind};
use std::{
    fs::{File, TryLockError},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// Nodes and first port where nothing else is asked for.
const NODES_DEFAULT: u16 = 3;
const PORT_DEFAULT: u16 = 7411;
/// The controller listens this far above the first node.
const CONTROLLER_PORT_OFFSET: u16 = 9;

const HEAD: &str = "# Made by `isobar up`; yours to edit. `isobar config show --example` has every key.\n\
     # `isobar up` keeps the data beside this file, whatever data_dir says: a moved or copied folder finds its own.\n";

/// One process of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) command: &'static str,
    pub(super) config: PathBuf,
    pub(super) data_dir: PathBuf,
    pub(super) log: PathBuf,
    pub(super) address: SocketAddr,
    /// A node's; none of the controller.
    pub(super) engine: Option<EngineKind>,
}

/// The whole cluster; the controller is the last part.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
    pub(super) parts: Vec<Part>,
    pub(super) is_new: bool,
    /// Held as long as this lives: two of them would take turns in taking each other's ports.
    _lock: File,
}

/// Refuses an address that the process of this name could not listen on.
type Free = fn(&str, SocketAddr) -> Result<(), ApiError>;

impl Layout {
    /// Reads the folder, or fills it at the first start. `free` refuses a port that is taken, and at the first start it
    /// is asked before anything is written: the folder must not remember ports that it could not have.
    pub(super) fn open(args: &Up, free: Free) -> Result<Self, ApiError> {
        let root =
            std::path::absolute(&args.data_dir).map_err(|why| file_error(&args.data_dir, &why))?;
        if root.to_str().is_none() {
            let message = format!("{} is no UTF-8, as configuration files are", root.display());
            return Err(invalid(message));
        }
        let logs = root.join("logs");
        std::fs::create_dir_all(&logs).map_err(|why| file_error(&logs, &why))?;
        let lock = lock(&root)?;
        // Written last: where it is, the first start got as far as having all files.
        let is_new = !root.join("controller.toml").exists();
        if is_new {
            write_files(&root, args, free)?;
        }
        let layout = Self { parts: read_parts(&root)?, root, is_new, _lock: lock };
        layout.agrees(args)?;
        if !is_new {
            layout.parts.iter().try_for_each(|part| free(&part.name, part.address))?;
        }
        Ok(layout)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.command == "node")
    }

    pub(super) fn controller(&self) -> &Part {
        self.parts.last().expect("the controller is always a part")
    }

    /// Options are for the first start; later ones must not contradict the folder.
    fn agrees(&self, args: &Up) -> Result<(), ApiError> {
        let (nodes, first) = (self.nodes().count(), self.parts[0].address.port());
        let other_count = args.nodes.is_some_and(|n| usize::from(n) != nodes);
        let other_port = args.base_port.is_some_and(|port| port != first);
        if other_count || other_port {
            let message = format!(
                "the cluster under {} has {nodes} nodes from port {first} on; leave out --nodes and --base-port, \
                 edit the .toml files there, or choose another --data-dir",
                self.root.display()
            );
            return Err(invalid(message));
        }
        let other = |node: &&Part| args.engine.is_some() && node.engine != args.engine;
        if let Some(node) = self.nodes().find(other) {
            let message = format!(
                "{} under {} does not keep its data with that engine, and a data directory keeps the one that made it; \
                 leave out --engine, or choose another --data-dir",
                node.name,
                self.root.display()
            );
            return Err(invalid(message));
        }
        Ok(())
    }
}

fn lock(root: &Path) -> Result<File, ApiError> {
    let path = root.join("up.lock");
    let file = File::create(&path).map_err(|why| file_error(&path, &why))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(why)) => Err(file_error(&path, &why)),
        Err(TryLockError::WouldBlock) => {
            let message = format!("another `isobar up` runs the cluster under {}", root.display());
            Err(ApiError::new(ErrorCode::DirectoryLocked, message))
        }
    }
}

fn write_files(root: &Path, args: &Up, free: Free) -> Result<(), ApiError> {
    let nodes = args.nodes.unwrap_or(NODES_DEFAULT);
    let base_port = args.base_port.unwrap_or(PORT_DEFAULT);
    let last = u32::from(base_port) + u32::from(CONTROLLER_PORT_OFFSET);
    if base_port == 0 || last > u32::from(u16::MAX) {
        return Err(invalid(format!(
            "--base-port must be 1 to {}",
            u16::MAX - CONTROLLER_PORT_OFFSET
        )));
    }
    let address = |offset: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, base_port + offset));
    for n in 1..=nodes {
        free(&format!("node-{n}"), address(n - 1))?;
    }
    free("controller", address(CONTROLLER_PORT_OFFSET))?;
    let all: Vec<String> = (0..nodes).map(|n| address(n).to_string()).collect();
    for n in 1..=nodes {
        let config = NodeConfig {
            node_id: NodeId(n.into()),
            listen: address(n - 1),
            data_dir: root.join(format!("node-{n}")),
            zone: char::from(b'a' + (n - 1) as u8).into(),
            seeds: all.iter().filter(|a| **a != address(n - 1).to_string()).cloned().collect(),
            founders: (1..=nodes).map(|id| NodeId(id.into())).collect(),
            engine: args.engine.unwrap_or_default(),
            ..NodeConfig::default()
        };
        write(&root.join(format!("node-{n}.toml")), &node_toml(&config)?)?;
    }
    let controller = ControllerConfig {
        listen: address(CONTROLLER_PORT_OFFSET),
        data_dir: root.join("controller"),
        connect: all,
        ..ControllerConfig::default()
    };
    write(&root.join("controller.toml"), &controller_toml(&controller)?)
}

/// Whole or not at all, so that a crash leaves no half file to start from.
fn write(path: &Path, text: &str) -> Result<(), ApiError> {
    let part = path.with_extension("toml.part");
    let written =
        std::fs::write(&part, format!("{HEAD}{text}")).and_then(|()| std::fs::rename(&part, path));
    written.map_err(|why| file_error(path, &why))
}

fn read_parts(root: &Path) -> Result<Vec<Part>, ApiError> {
    let part = |name: String, command, address, engine| Part {
        config: root.join(format!("{name}.toml")),
        data_dir: root.join(&name),
        log: root.join("logs").join(format!("{name}.log")),
        name,
        command,
        address,
        engine,
    };
    let settings = |name: &str| {
        let path = root.join(format!("{name}.toml"));
        load(&Sources { file: Some(&path), ..Sources::default() })
    };
    let of_file = |name: &str, error: ApiError| {
        let path = root.join(format!("{name}.toml"));
        ApiError::new(error.code, format!("{}: {}", path.display(), error.message))
    };
    let mut parts = Vec::new();
    // The controller listens 9 ports up, so there are at most 9 nodes.
    for n in 1..=CONTROLLER_PORT_OFFSET {
        let name = format!("node-{n}");
        if !root.join(format!("{name}.toml")).exists() {
            break;
        }
        let config = settings(&name)?.node;
        config.validate().map_err(|error| of_file(&name, error))?;
        parts.push(part(name, "node", config.listen, Some(config.engine)));
    }
    if parts.is_empty() {
        return Err(file_error(&root.join("node-1.toml"), &std::io::ErrorKind::NotFound.into()));
    }
    let config = settings("controller")?.controller;
    config.validate().map_err(|error| of_file("controller", error))?;
    parts.push(part("controller".into(), "controller", config.listen, None));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(root: &Path, nodes: Option<u16>, base_port: Option<u16>) -> Result<Layout, ApiError> {
        let args = Up { data_dir: root.into(), nodes, base_port, engine: None };
        Layout::open(&args, |_, _| Ok(()))
    }

    #[test]
    fn the_second_start_finds_what_the_first_one_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = open(folder.path(), Some(3), Some(9_000)).expect("a new one");
        assert!(first.is_new);
        let ports: Vec<u16> = first.parts.iter().map(|p| p.address.port()).collect();
        assert_eq!(ports, [9_000, 9_001, 9_002, 9_009]);
        assert_eq!(first.nodes().count(), 3);
        let error = open(folder.path(), None, None).expect_err("the first one still runs");
        assert_eq!(error.code, ErrorCode::DirectoryLocked);
        let parts = first.parts.clone();
        drop(first);
        let second = open(folder.path(), None, None).expect("the same one");
        assert_eq!((second.is_new, second.parts), (false, parts));
    }

    #[test]
    fn a_first_start_without_its_ports_can_be_repeated_with_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let args =
            Up { data_dir: folder.path().into(), nodes: None, base_port: None, engine: None };
        let taken: Free = |name, _| match name {
            "controller" => Err(ApiError::new(ErrorCode::BadAddress, "taken")),
            _ => Ok(()),
        };
        let error = Layout::open(&args, taken).expect_err("a port is taken");
        assert_eq!(error.code, ErrorCode::BadAddress);
        assert!(open(folder.path(), None, Some(9_000)).expect("other ports").is_new);
        Layout::open(&args, taken).expect_err("a later start asks too");
    }

    #[test]
    fn options_that_contradict_the_folder_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        open(folder.path(), None, None).expect("a new one");
        for (nodes, base_port) in [(Some(5), None), (None, Some(9_000))] {
            let error = open(folder.path(), nodes, base_port).expect_err("another cluster");
            assert_eq!(error.code, ErrorCode::InvalidArgument);
        }
        open(folder.path(), Some(3), Some(7_411)).expect("they agree");
    }

    #[test]
    fn a_folder_keeps_its_engine() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |engine| {
            let up = Up { data_dir: folder.path().into(), nodes: None, base_port: None, engine };
            Layout::open(&up, |_, _| Ok(()))
        };
        let engines = |layout: Layout| layout.nodes().map(|node| node.engine).collect::<Vec<_>>();
        let redb = Some(EngineKind::Redb);
        assert_eq!(engines(open(redb).expect("a new one")), [redb; 3]);
        assert_eq!(engines(open(None).expect("the same one")), [redb; 3]);
        open(redb).expect("they agree");
        let error = open(Some(EngineKind::Rocksdb)).expect_err("another engine");
        assert_eq!(error.code, ErrorCode::InvalidArgument);
        assert!(error.message.contains("--engine"), "{}", error.message);
    }

    #[test]
    fn what_was_edited_wins_and_errors_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = open(folder.path(), None, None).expect("a new one").parts[1].config.clone();
        let text = std::fs::read_to_string(&path).expect("written");
        std::fs::write(&path, text.replace("7412", "7512")).expect("room");
        let edited = open(folder.path(), None, None).expect("edited").parts[1].address;
        assert_eq!(edited.port(), 7_512);
        for slip in ["lisen = 1", "listen = 1", "node_id = 0"] {
            std::fs::write(&path, format!("[node]\n{slip}\n")).expect("room");
            let error = open(folder.path(), None, None).expect_err("a slip");
            assert_eq!(error.code, ErrorCode::BadConfig);
            assert!(error.message.contains("node-2.toml: "), "{}", error.message);
        }
    }

    #[test]
    fn ports_beyond_the_last_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(open(folder.path(), None, Some(65_530)).is_err());
        assert!(open(folder.path(), None, Some(0)).is_err());
    }
}
