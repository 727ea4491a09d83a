//! The book and the README keep up with the code: short enough, complete, no dead links.

use crate::{expect_none, files_below, read, root};
use clap::CommandFactory;
use isobar_api::ErrorCode;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

const README_LINES_MAX: usize = 120;

/// Lines outside fenced code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Targets of the links in a page, with their lines: `[text](target)`.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        for (at, _) in line.match_indices("](") {
            // A link inside `code` is shown, not followed.
            let in_code = line[..at].matches('`').count() % 2 == 1;
            if let (false, Some(end)) = (in_code, line[at..].find(')')) {
                found.push((number, &line[at + 2..at + end]));
            }
        }
    }
    found
}

/// Anchors of the headings of a page, as mdBook makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).map(|(_, line)| line).filter(|line| line.starts_with('#'));
    let headings = headings.map(|line| line.trim_start_matches('#').trim());
    let slug = |heading: &str| -> String {
        let lower = heading.to_lowercase();
        let kept = lower.chars().filter(|c| c.is_alphanumeric() || " _-".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

/// Resolves `..` and `.` without looking at the disk.
fn tidy(path: &Path) -> String {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out.to_string_lossy().replace('\\', "/")
}

/// Links of one page that lead nowhere. `pages` holds every page by its path; `exists` knows the other files.
fn dead_links(
    page: &str,
    pages: &BTreeMap<String, String>,
    exists: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut findings = Vec::new();
    for (line, target) in links(&pages[page]) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let dir = Path::new(page).parent().unwrap_or(Path::new(""));
        let path = if file.is_empty() { page.to_owned() } else { tidy(&dir.join(file)) };
        match pages.get(&path) {
            Some(text) if !anchor.is_empty() && !anchors(text).contains(anchor) => {
                findings.push(format!("{page}:{line}: {path} has no heading #{anchor}"));
            }
            None if !exists(&path) => {
                findings.push(format!("{page}:{line}: {target} leads nowhere"))
            }
            _ => {}
        }
    }
    findings
}

/// Pages that the table of contents leaves out.
fn unlisted(summary: &str, pages: &[String]) -> Vec<String> {
    let listed: BTreeSet<&str> = links(summary).into_iter().map(|(_, target)| target).collect();
    let missing = pages.iter().filter(|page| !listed.contains(page.as_str()));
    missing.map(|page| format!("SUMMARY.md does not list {page}")).collect()
}

/// What the page of errors must have: a section `## ISO-…` per code, in order and no other, with its next step.
fn gaps_in_errors(page: &str) -> Vec<String> {
    let headings = prose(page).filter_map(|(_, line)| line.strip_prefix("## ISO-"));
    let documented: Vec<String> =
        headings.map(|rest| format!("ISO-{}", rest.split(' ').next().unwrap_or(""))).collect();
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    if documented != codes {
        return vec![format!("errors.md has sections for {documented:?}, the codes are {codes:?}")];
    }
    let sections = page.split("\n## ").skip(1).zip(ErrorCode::ALL);
    let silent = sections.filter(|(section, code)| !section.contains(code.next_step()));
    silent.map(|(_, code)| format!("errors.md does not say what to do next after {code}")).collect()
}

/// Commands that the page of the command line does not name.
fn unnamed_commands(page: &str, program: &clap::Command, name: &str) -> Vec<String> {
    let own = program.get_subcommands().filter(|command| command.get_name() != "help");
    let unnamed = own.flat_map(|command| {
        let name = format!("{name} {}", command.get_name());
        let gap = (!page.contains(&name)).then(|| format!("cli.md does not name `{name}`"));
        gap.into_iter().chain(unnamed_commands(page, command, &name)).collect::<Vec<_>>()
    });
    unnamed.collect()
}

/// Every page of the book and the README, by path.
pub fn book() -> BTreeMap<String, String> {
    let mut paths = files_below("docs/src", "md");
    paths.push("README.md".into());
    paths.into_iter().map(|path| (path.clone(), read(&root().join(&path)))).collect()
}

#[test]
fn the_readme_is_short() {
    let lines = read(&root().join("README.md")).lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines, at most {README_LINES_MAX}");
}

#[test]
fn every_page_is_listed_and_every_link_leads_somewhere() {
    let book = book();
    assert!(book.len() > 10, "only {} pages found", book.len());
    let inner = book.keys().filter_map(|path| path.strip_prefix("docs/src/"));
    let pages: Vec<String> =
        inner.filter(|page| *page != "SUMMARY.md").map(str::to_owned).collect();
    let mut findings = unlisted(&book["docs/src/SUMMARY.md"], &pages);
    for page in book.keys() {
        findings.extend(dead_links(page, &book, |path| root().join(path).exists()));
    }
    expect_none(&findings);
}

#[test]
fn every_error_code_and_every_command_has_its_place() {
    let page = |name: &str| read(&root().join("docs/src").join(name));
    expect_none(&gaps_in_errors(&page("errors.md")));
    expect_none(&unnamed_commands(&page("cli.md"), &isobar_cli::args::Cli::command(), "isobar"));
}

#[test]
fn gaps_in_the_book_are_found() {
    let page = "# A page\n## Some *part*, here\n[ok](b.md#top) [gone](c.md) [self](#some-part-here) [far](https://x.y)\n\
                ```\n[code](nowhere.md)\n```\n`[code](nowhere.md)` [bad](b.md#bottom) [up](../LICENSE)";
    let pages = BTreeMap::from([
        ("docs/a.md".to_owned(), page.to_owned()),
        ("docs/b.md".to_owned(), "# Top".to_owned()),
    ]);
    let findings = dead_links("docs/a.md", &pages, |path| path == "LICENSE");
    assert_eq!(
        findings,
        ["docs/a.md:3: c.md leads nowhere", "docs/a.md:7: docs/b.md has no heading #bottom"]
    );
    assert_eq!(
        unlisted("- [A](a.md)", &["a.md".into(), "b.md".into()]),
        ["SUMMARY.md does not list b.md"]
    );
    let section = |code: &ErrorCode| format!("\n## {code} · text\n\nNext: {}.\n", code.next_step());
    let all: String = ErrorCode::ALL.iter().map(section).collect();
    assert_eq!(gaps_in_errors(&all), Vec::<String>::new());
    assert_eq!(gaps_in_errors(&all.replace("## ISO-4003 ", "ISO-4003 ")).len(), 1);
    let silent = all.replace(ErrorCode::Frozen.next_step(), "wait");
    assert_eq!(gaps_in_errors(&silent), ["errors.md does not say what to do next after ISO-4003"]);
    let noun = clap::Command::new("kv").subcommand(clap::Command::new("get"));
    let program = clap::Command::new("isobar").subcommand(noun);
    assert_eq!(
        unnamed_commands("`isobar kv put`", &program, "isobar"),
        ["cli.md does not name `isobar kv get`"]
    );
}
