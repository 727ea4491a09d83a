//! What the documentation tells people to type is what the program understands.

use crate::{docs::book, expect_none};
use clap::{CommandFactory, error::ErrorKind};
use isobar_cli::args::Cli;

/// Command lines in the fenced blocks of a page that are shell or of no named kind, with their lines: those that begin
/// with `isobar`.
fn shell_lines(page: &str) -> Vec<(usize, String)> {
    let (mut found, mut fenced, mut in_shell) = (Vec::new(), false, false);
    for (number, line) in (1..).zip(page.lines()) {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            fenced = !fenced;
            in_shell = fenced && ["", "sh", "bash", "console", "shell"].contains(&kind.trim());
            continue;
        }
        let line = line.trim_start().trim_start_matches("$ ");
        let commands = line.split(" && ").filter(|part| part.starts_with("isobar "));
        found.extend(commands.filter(|_| in_shell).map(|part| (number, part.to_owned())));
    }
    found
}

/// The words of a shell line: quotes hold words together, a pipe, redirection, `&` or comment ends it.
fn words(line: &str) -> Vec<String> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => all.extend(word.take()),
            (None, '#' | '|' | '>' | '<' | '&' | ';') if word.is_none() => break,
            _ => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

/// Why the program would refuse a line as misuse.
fn misuse(line: &str, program: &clap::Command) -> Option<String> {
    let error = program.clone().try_get_matches_from(words(line)).err()?;
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return None;
    }
    error.to_string().lines().next().map(str::to_owned)
}

#[test]
fn every_command_in_the_book_is_understood() {
    let program = Cli::command();
    let (mut seen, mut findings) = (0, Vec::new());
    for (path, text) in book() {
        for (number, line) in shell_lines(&text) {
            seen += 1;
            findings.extend(
                misuse(&line, &program).map(|why| format!("{path}:{number}: `{line}`: {why}")),
            );
        }
    }
    assert!(seen > 10, "only {seen} commands found in the book");
    expect_none(&findings);
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let noun = clap::Command::new("kv")
        .subcommand(clap::Command::new("get").arg(clap::Arg::new("key").required(true)));
    let program = clap::Command::new("isobar").subcommand_required(true).subcommand(noun);
    let page = "isobar not here\n```sh\n$ isobar kv get 'a b'   # fine\nisobar kv fetch a && isobar kv get x | wc -l\n\
                export X=1\nisobar kv get\n```\n```\nisobar kv drop\n```\n```text\nisobar not shell\n```\n";
    let lines = shell_lines(page);
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!(words(&lines[0].1), ["isobar", "kv", "get", "a b"]);
    let wrong: Vec<usize> = lines
        .iter()
        .filter(|(_, line)| misuse(line, &program).is_some())
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(wrong, [4, 6, 9]);
}
