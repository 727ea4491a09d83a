//! Reading configuration from its sources, each over the one before.

use super::{Settings, keys};
use crate::failure::file_error;
use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Format, Serialized, Toml},
    value::{Dict, Map, Value},
};
use isobar_api::{ApiError, ErrorCode};
use std::path::Path;

/// Variables of the environment that start with this and have `__` after a section set a key.
const PREFIX: &str = "ISOBAR_";

/// A key set on the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    /// Dotted key.
    pub key: String,
    /// Its value.
    pub value: Value,
}

impl Flag {
    /// A flag with a value of its own type.
    pub fn new(key: &str, value: impl Into<Value>) -> Self {
        Self { key: key.into(), value: value.into() }
    }

    /// Reads `key=value`; the value is a number, `true`, a list in brackets or a text.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self::new(key.trim(), typed(key.trim(), value)))
            }
            _ => Err(format!("`{text}` is not a setting: write KEY=VALUE")),
        }
    }
}

/// Where configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources<'a> {
    /// A TOML file.
    pub file: Option<&'a Path>,
    /// The environment, as name and value.
    pub environment: Vec<(String, String)>,
    /// The command line.
    pub flags: Vec<Flag>,
}

impl<'a> Sources<'a> {
    /// A file, this process's environment and flags.
    pub fn of_process(file: Option<&'a Path>, flags: Vec<Flag>) -> Self {
        // Names or values that are no text cannot be ours.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file, environment, flags }
    }
}

/// Defaults, then file, then environment, then flags.
pub fn load(sources: &Sources<'_>) -> Result<Settings, ApiError> {
    let mut figment = Figment::from(Serialized::defaults(Settings::default()));
    if let Some(path) = sources.file {
        let text = std::fs::read_to_string(path).map_err(|error| file_error(path, &error))?;
        let name = path.display().to_string();
        let value: toml::Value = toml::from_str(&text).map_err(|error| {
            ApiError::new(ErrorCode::BadConfig, format!("{name}: {}", error.to_string().trim()))
        })?;
        keys::check(&name, keys::leaves(&value).keys().map(String::as_str))?;
        figment = figment.merge(Named(name, Toml::string(&text)));
    }
    for (name, value) in &sources.environment {
        let Some(key) = environment_key(name) else {
            continue;
        };
        keys::check(name, [key.as_str()])?;
        let value = Serialized::default(&key, typed(&key, value));
        figment = figment.merge(Named(name.clone(), value));
    }
    for flag in &sources.flags {
        let name = "command line";
        keys::check(name, [flag.key.as_str()])?;
        let value = Serialized::default(&flag.key, flag.value.clone());
        figment = figment.merge(Named(name.into(), value));
    }
    figment.extract().map_err(|error| {
        let all: Vec<String> = error.into_iter().map(|e| one_line(&e)).collect();
        ApiError::new(ErrorCode::BadConfig, all.join("; "))
    })
}

/// What a text stands for. Where a text is wanted, `7` and `true` are texts too.
fn typed(key: &str, text: &str) -> Value {
    let value: Value = text.parse().expect("every text is a value");
    let wants_text = keys::defaults().get(key).is_some_and(toml::Value::is_str);
    if wants_text && value.as_str().is_none() { text.into() } else { value }
}

/// A source by the name that its user knows.
struct Named<P>(String, P);

impl<P: Provider> Provider for Named<P> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        self.1.data()
    }
}

/// Where, which key, and what is wrong with its value.
fn one_line(error: &figment::Error) -> String {
    let source = error.metadata.as_ref().map(|metadata| metadata.name.to_string());
    let key = Some(error.path.join(".")).filter(|key| !key.is_empty());
    let parts = [source, key, Some(error.kind.to_string())];
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// `ISOBAR_NODE__RAFT__HEARTBEAT_MS` sets `node.raft.heartbeat_ms`; names without `__` belong to flags.
fn environment_key(name: &str) -> Option<String> {
    let rest = name.strip_prefix(PREFIX)?;
    rest.contains("__").then(|| rest.to_ascii_lowercase().replace("__", "."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("room");
        file
    }

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn each_source_covers_the_one_before() {
        let file = file("[node]\nnode_id = 2\nzone = \"b\"\n[node.raft]\nheartbeat_ms = 100\n");
        let settings = load(&Sources {
            file: Some(file.path()),
            environment: environment(&[
                ("ISOBAR_NODE__ZONE", "c"),
                ("ISOBAR_NODE__LISTEN", "127.0.0.1:9000"),
                ("ISOBAR_CONNECT", "is a flag's, not a key"),
                ("HOME", "/"),
            ]),
            flags: vec![Flag::new("node.listen", "127.0.0.1:9001")],
        })
        .expect("it reads");
        assert_eq!(settings.node.node_id.0, 2);
        assert_eq!(settings.node.zone, "c");
        assert_eq!(settings.node.listen.port(), 9_001);
        assert_eq!(settings.node.raft.heartbeat_ms, 100);
        assert_eq!(
            settings.node.raft.election_min_ms,
            Settings::default().node.raft.election_min_ms
        );
    }

    #[test]
    fn nothing_at_all_means_the_defaults() {
        assert_eq!(load(&Sources::default()).expect("defaults"), Settings::default());
        Settings::default().validate().expect("defaults hold");
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        let refused = |text: &str| {
            let file = file(text);
            let sources = Sources { file: Some(file.path()), ..Sources::default() };
            let error = load(&sources).expect_err("refused");
            assert_eq!(error.code, ErrorCode::BadConfig);
            let name = format!("{}: ", file.path().display());
            assert!(error.message.starts_with(&name), "{}", error.message);
            error.message
        };
        assert!(refused("[node]\nlisen = \"x\"").contains("did you mean `node.listen`?"));
        assert!(refused("[node]\nlisten = \"x\"").contains("node.listen: "));
        assert!(refused("[node]\nregion = \"EU West\"").contains("region"));
        assert!(refused("[node").contains("line 1"));
        let sources = Sources {
            environment: environment(&[("ISOBAR_NODE__LISEN", "x")]),
            ..Sources::default()
        };
        let error = load(&sources).expect_err("unknown");
        assert_eq!(
            error.message,
            "ISOBAR_NODE__LISEN: there is no key `node.lisen`; did you mean `node.listen`?"
        );
        let sources = Sources {
            environment: environment(&[("ISOBAR_NODE__REQUESTS_MAX", "many")]),
            ..Sources::default()
        };
        let error = load(&sources).expect_err("no number").message;
        assert!(error.starts_with("ISOBAR_NODE__REQUESTS_MAX: node.requests_max: "), "{error}");
        let flags = vec![Flag::parse("node.requests_max=many").expect("a setting")];
        let error = load(&Sources { flags, ..Sources::default() }).expect_err("no number").message;
        assert!(error.starts_with("command line: node.requests_max: "), "{error}");
    }

    #[test]
    fn a_missing_file_is_a_file_error() {
        let sources = Sources { file: Some(Path::new("no/such/file.toml")), ..Sources::default() };
        assert_eq!(load(&sources).expect_err("missing").code, ErrorCode::File);
    }

    #[test]
    fn settings_on_the_command_line_have_types() {
        let flags = ["node.raft.heartbeat_ms=50", "node.zone=7", "node.seeds=[\"a:1\"]"]
            .map(|text| Flag::parse(text).expect("a setting"));
        let sources = Sources {
            flags: flags.into(),
            environment: environment(&[("ISOBAR_NODE__CLUSTER_NAME", "2026")]),
            ..Sources::default()
        };
        let node = load(&sources).expect("it reads").node;
        assert_eq!((node.raft.heartbeat_ms, node.zone.as_str()), (50, "7"));
        assert_eq!((node.cluster_name.as_str(), node.seeds), ("2026", vec!["a:1".to_owned()]));
        assert!(Flag::parse("node.zone").is_err());
    }
}
