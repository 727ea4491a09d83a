//! Just enough of a Rust reader: text without comments and strings, spans of functions and of test code.

use std::ops::RangeInclusive;

/// The source with the contents of comments, strings and character literals blanked; lines stay where they are.
pub fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// Where the comment or literal that starts here ends; `at` itself when none starts here.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
    let after_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if next(1) == '/' => find(chars, at, |c| c == '\n'),
        '/' if next(1) == '*' => block_comment_end(chars, at),
        '"' => quoted_end(chars, at, '"'),
        'r' if !after_word || chars[at - 1] == 'b' => raw_string_end(chars, at),
        // A lifetime has no closing quote two characters on.
        '\'' if next(1) == '\\' || (next(2) == '\'' && next(1) != '\'') => {
            quoted_end(chars, at, '\'')
        }
        _ => at,
    }
}

fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    (from..chars.len()).find(|&i| wanted(chars[i])).unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    i
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut i = at + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

fn raw_string_end(chars: &[char], at: usize) -> usize {
    let quote = find(chars, at + 1, |c| c != '#');
    if chars.get(quote) != Some(&'"') {
        return at;
    }
    let hashes = quote - at - 1;
    let mut i = quote + 1;
    while i < chars.len() {
        let closed = chars[i] == '"'
            && chars[i + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
        if closed {
            return i + 1 + hashes;
        }
        i += 1;
    }
    i
}

/// A function with a body: its name and its lines, counted from 1.
#[derive(Debug, PartialEq)]
pub struct Function {
    pub name: String,
    pub lines: RangeInclusive<usize>,
}

/// All functions with bodies in text from [`code_only`].
pub fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = code[at + 3..].trim_start();
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(code, at) {
            found.push(Function { name, lines: line_of(code, at)..=line_of(code, end) });
        }
    }
    found
}

/// Offset of the brace that closes the first block after `from`; none where a `;` comes first.
fn body_end(code: &str, from: usize) -> Option<usize> {
    let (mut inner, mut braces) = (0_i32, 0_i32);
    for (i, c) in code[from..].char_indices() {
        match c {
            '(' | '[' => inner += 1,
            ')' | ']' => inner -= 1,
            ';' if braces == 0 && inner == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 && inner == 0 {
                    return Some(from + i);
                }
            }
            _ => {}
        }
    }
    None
}

/// The line of an offset, counted from 1.
pub fn line_of(code: &str, offset: usize) -> usize {
    code[..offset].matches('\n').count() + 1
}

/// What a file marks as test code.
#[derive(Debug, Default, PartialEq)]
pub struct TestCode {
    /// Lines of items under `#[cfg(test)]`.
    pub lines: Vec<RangeInclusive<usize>>,
    /// Modules declared under `#[cfg(test)]` that live in files of their own.
    pub modules: Vec<String>,
}

impl TestCode {
    /// Reads text from [`code_only`].
    pub fn of(code: &str) -> Self {
        let mut found = Self::default();
        for mark in ["#[cfg(test)]", "#[cfg(all(test"] {
            for (at, _) in code.match_indices(mark) {
                let item = at + mark.len();
                match body_end(code, item) {
                    Some(end) => found.lines.push(line_of(code, at)..=line_of(code, end)),
                    None => found.modules.extend(declared_module(&code[item..])),
                }
            }
        }
        found
    }

    /// Whether a line is test code.
    pub fn covers(&self, line: usize) -> bool {
        self.lines.iter().any(|lines| lines.contains(&line))
    }
}

fn declared_module(text: &str) -> Option<String> {
    let statement = text.split(';').next()?;
    let words: Vec<&str> = statement.split_whitespace().collect();
    let at = words.iter().position(|w| *w == "mod")?;
    words.get(at + 1).map(|name| (*name).to_owned())
}

/// Whether a whole file is test code: by its place, by its name, or because a file declares it under `#[cfg(test)]`.
pub fn is_test_file(path: &str, test_modules: &[String]) -> bool {
    let stem = path.trim_end_matches(".rs");
    path.contains("/tests/")
        || stem.ends_with("/tests")
        || stem.ends_with("_tests")
        || test_modules.iter().any(|m| stem == m || path.starts_with(&format!("{m}/")))
}

/// Paths (without `.rs`) of the modules that files declare under `#[cfg(test)]`.
pub fn test_modules(files: &[(String, String)]) -> Vec<String> {
    let mut all = Vec::new();
    for (path, text) in files {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let stem = name.trim_end_matches(".rs");
        let home = if ["lib", "main", "mod"].contains(&stem) {
            dir.to_owned()
        } else {
            format!("{dir}/{stem}")
        };
        all.extend(TestCode::of(&code_only(text)).modules.iter().map(|m| format!("{home}/{m}")));
    }
    all
}

#[test]
fn comments_and_literals_are_blanked_and_lines_stay() {
    let source = "let a = \"// {\"; // }\nlet b = r#\"\" {\"#; /* { /* } */ {\n*/ let c = '{'; let d: &'static str = b;";
    let code = code_only(source);
    assert!(!code.contains(['{', '}', '"']), "{code}");
    assert_eq!(code.lines().count(), source.lines().count());
    assert!(code.contains("let c =") && code.contains("&'static str = b;"), "{code}");
}

#[test]
fn functions_are_measured_from_signature_to_closing_brace() {
    let code = code_only(
        "trait T { fn none(&self) -> [u8; 4]; }\nfn one(\n  f: fn(u8) -> u8,\n) {\n  if x { }\n}\n",
    );
    assert_eq!(functions(&code), [Function { name: "one".into(), lines: 2..=6 }]);
}

#[test]
fn test_code_is_told_from_the_rest() {
    let code = code_only(
        "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\n#[cfg(test)]\nmod slow;\n",
    );
    let tests = TestCode::of(&code);
    assert!(!tests.covers(1) && tests.covers(4) && !tests.covers(7));
    assert_eq!(tests.modules, ["slow"]);
    let files =
        [("node/src/shard.rs".to_owned(), code.clone()), ("node/src/lib.rs".to_owned(), code)];
    let modules = test_modules(&files);
    assert_eq!(modules, ["node/src/shard/slow", "node/src/slow"]);
    assert!(is_test_file("node/src/shard/slow.rs", &modules));
    assert!(
        is_test_file("node/src/log_tests.rs", &[]) && !is_test_file("node/src/contests.rs", &[])
    );
    assert!(!is_test_file("node/src/slower.rs", &modules) && is_test_file("node/tests/a.rs", &[]));
}
