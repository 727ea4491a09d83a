//! Pages that must keep up with the code.

use isobar_api::ErrorCode;

const ERRORS: &str = include_str!("../../docs/src/errors.md");
const CLI: &str = include_str!("../../docs/src/cli.md");

#[test]
fn the_page_of_errors_has_every_code_in_order_and_no_other() {
    let documented: Vec<&str> =
        ERRORS.lines().filter_map(|l| l.strip_prefix("## ")?.split_whitespace().next()).collect();
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(documented, codes, "docs/src/errors.md has one `## ISO-…` section per code");
    for code in ErrorCode::ALL {
        let section = ERRORS.split(&format!("## {code} ")).nth(1).expect("checked above");
        let section = section.split("\n## ").next().expect("at least the rest");
        assert!(section.contains(code.next_step()), "{code}: the section states the next step");
    }
}

#[test]
fn the_page_of_commands_names_every_command() {
    use clap::CommandFactory;
    let command = isobar_cli::args::Cli::command();
    for noun in command.get_subcommands().filter(|c| c.get_name() != "help") {
        let name = format!("isobar {}", noun.get_name());
        assert!(CLI.contains(&name), "docs/src/cli.md does not name `{name}`");
        for verb in noun.get_subcommands().filter(|c| c.get_name() != "help") {
            let name = format!("{name} {}", verb.get_name());
            assert!(CLI.contains(&name), "docs/src/cli.md does not name `{name}`");
        }
    }
}
