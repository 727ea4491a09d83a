//! The book and the README keep up with the code: short enough, complete, no dead links.

use crate::{expect_none, files_below, read, root};
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

/// Error codes without a heading of their own.
fn codes_without_section(page: &str) -> Vec<String> {
    let headings: Vec<&str> =
        prose(page).map(|(_, line)| line).filter(|line| line.starts_with('#')).collect();
    let missing =
        ErrorCode::ALL.iter().filter(|code| !headings.iter().any(|h| h.contains(code.as_str())));
    missing.map(|code| format!("errors.md has no section for {code}")).collect()
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
fn every_error_code_has_a_section() {
    expect_none(&codes_without_section(&read(&root().join("docs/src/errors.md"))));
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
    let all: String = ErrorCode::ALL.iter().map(|code| format!("## {code} · text\n")).collect();
    assert_eq!(codes_without_section(&all), Vec::<String>::new());
    let short = all.replace("## ISO-4003 ", "ISO-4003 ");
    assert_eq!(codes_without_section(&short), ["errors.md has no section for ISO-4003"]);
}
