//! The commented example: every key with its default.

use super::{keys, notes::NOTES};
use std::fmt::Write;

const HEAD: &str = "\
# Configuration of Isobar: every key with its default. Made by `isobar config show --example`.
# Precedence: defaults, this file (--config FILE), environment, flags.
# In the environment: ISOBAR_, the section, two underscores, the key: ISOBAR_NODE__LISTEN.
";

/// The text of `docs/isobar.example.toml`. Values are commented out, so that a copied file keeps
/// following the defaults of newer versions.
pub fn example() -> String {
    write_example("#")
}

fn write_example(mark: &str) -> String {
    let defaults = keys::defaults();
    let mut text = HEAD.to_owned();
    let mut open_section = "";
    for note in NOTES {
        let (section, field) = note.key.rsplit_once('.').expect("every note is inside a section");
        if section != open_section {
            open_section = section;
            let _ = write!(text, "\n[{section}]\n");
        }
        let _ = writeln!(text, "# {}", note.text);
        let _ = match (note.example, defaults.get(note.key)) {
            (Some(example), _) => writeln!(text, "#{field} = {example}"),
            (None, Some(value)) => writeln!(text, "{mark}{field} = {value}"),
            (None, None) => Ok(()),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::Settings, *};
    use std::collections::BTreeSet;

    #[test]
    fn every_key_has_a_note_and_every_note_a_key() {
        let noted: BTreeSet<&str> = NOTES.iter().map(|note| note.key).collect();
        let defaults = keys::defaults();
        let without: Vec<_> = defaults.keys().filter(|key| !noted.contains(key.as_str())).collect();
        assert!(without.is_empty(), "no note in config/notes.rs: {without:?}");
        for note in NOTES {
            assert_eq!(
                note.example.is_some(),
                defaults.get(note.key).is_none_or(|v| v.as_table().is_some()),
                "{} has either a default or an example",
                note.key
            );
        }
    }

    #[test]
    fn the_examples_values_are_the_defaults() {
        let read: Settings = toml::from_str(&write_example("")).expect("the example is TOML");
        assert_eq!(read, Settings::default());
    }

    #[test]
    fn optional_values_are_legal() {
        for note in NOTES {
            let Some(example) = note.example else {
                continue;
            };
            let (section, field) = note.key.rsplit_once('.').expect("inside a section");
            let text = format!("[{section}]\n{field} = {example}\n");
            toml::from_str::<Settings>(&text).unwrap_or_else(|e| panic!("{}: {e}", note.key));
        }
    }

    #[test]
    fn the_committed_example_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/isobar.example.toml");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == example(),
            "docs/isobar.example.toml is old: run `isobar config show --example > docs/isobar.example.toml`"
        );
    }
}
