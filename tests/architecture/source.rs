//! Reading Rust sources as text: enough to tell code from comments, strings and tests.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every tracked file, relative to the root.
pub(crate) fn tracked_files() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git is needed");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let text = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    text.split_terminator('\0').map(PathBuf::from).filter(|p| root().join(p).exists()).collect()
}

/// The code of every Rust file under `folder` (see [`code`]), with its path; files of tests are left out.
pub(crate) fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    let is_test = |p: &PathBuf| p.file_name().is_some_and(|n| n == "tests.rs") || p.iter().any(|part| part == "tests");
    found
        .into_iter()
        .map(|path| path.strip_prefix(root()).expect("it lies under the root").to_path_buf())
        .filter(|path| folder == "tests" || !is_test(path))
        .map(|path| (path.clone(), code(&std::fs::read_to_string(root().join(path)).expect("sources are readable"))))
        .collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|e| e.expect("folders are readable").path()) {
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// `text` with comments, the insides of strings, characters and `#[cfg(test)]` items turned into spaces: places keep
/// their position and their line.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_or_comment(bytes, at);
        blank(&mut out[at..end]);
        at = end.max(at + 1);
    }
    blank_tests(&mut out);
    String::from_utf8(out).expect("whole characters are blanked")
}

/// The number of the line of a position, counted from 1.
pub(crate) fn line(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Positions at which `name` stands as a whole word.
pub(crate) fn words(code: &str, name: &str) -> Vec<usize> {
    let is_word = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = code.as_bytes();
    code.match_indices(name)
        .map(|(at, _)| at)
        .filter(|&at| (at == 0 || !is_word(bytes.get(at - 1))) && !is_word(bytes.get(at + name.len())))
        .collect()
}

/// Where the comment or literal that starts at `at` ends; `at` itself when none does.
fn literal_or_comment(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment(rest),
        [b'"', ..] => at + quoted(rest, b'"'),
        [b'r', b'"' | b'#', ..] if !word_before => at + raw_string(rest, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !word_before => at + raw_string(rest, 2),
        [b'\'', b'\\', ..] => at + quoted(rest, b'\''),
        [b'\'', first, ..] => {
            // A lifetime has no closing quote behind its first character.
            let width = 1 + usize::from(*first >= 0xc0) + usize::from(*first >= 0xe0) + usize::from(*first >= 0xf0);
            if rest.get(1 + width) == Some(&b'\'') { at + width + 2 } else { at }
        }
        _ => at,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `rest[prefix..]` starts with the hashes or the quote; a raw identifier (`r#type`) is none.
fn raw_string(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return 0;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let found = rest[open + 1..].windows(close.len()).position(|w| w == close);
    found.map_or(rest.len(), |p| open + 1 + p + close.len())
}

fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
}

fn blank_tests(code: &mut [u8]) {
    const MARK: &[u8] = b"#[cfg(test)]";
    while let Some(start) = code.windows(MARK.len()).position(|w| w == MARK) {
        let body = start + code[start..].iter().position(|b| matches!(b, b'{' | b';')).unwrap_or(code.len() - start - 1);
        let end = if code[body] == b'{' { closing_brace(code, body) } else { body };
        blank(&mut code[start..=end]);
    }
}

fn closing_brace(code: &[u8], open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    code.len() - 1
}

#[test]
fn only_code_is_left() {
    let text = r##"
fn f<'a>(c: char) -> &'a str { // bus.put()
    /* a /* nested */ put */ let q = ['"', '\'', 'ä'];
    let s = r#"raw "put" "#; keep(b"put\"", "put"); r#type
}
#[cfg(test)]
mod tests { fn put() { {} } }
fn last() {}
"##;
    let code = code(text);
    assert!(!code.contains("put"), "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
    for kept in ["fn f<'a>(c: char) -> &'a str {", "let q = [", "keep(", "r#type", "fn last() {}"] {
        assert!(code.contains(kept), "{kept} is gone:\n{code}");
    }
    assert_eq!(words("put putter .put(", "put"), [0, 12]);
}
