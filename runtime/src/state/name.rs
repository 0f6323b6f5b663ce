//! Names of objects in the checkpoint store.
//!
//! `state/<pipeline>/<generation>/<epoch>/<state>-w<worker>-<token>.state` and `.../manifest-<token>`: a name holds the token
//! of its incarnation, so no other one ever writes an object of that name, and two writes of it are of the same bytes.

use crate::bus::Token;
use crate::time::Epoch;
use std::fmt::Write;

/// Where everything of a pipeline lies, with a slash at the end: a prefix to list.
#[must_use]
pub fn pipeline_prefix(pipeline: &str) -> String {
    format!("state/{}/", sanitised(pipeline))
}

/// Generation, epoch and token of the manifest of this name; `None` for the name of anything else.
///
/// ```
/// use distributary_runtime::{bus::Token, state::parse_manifest_name, time::Epoch};
/// let name = "state/fraud.spend/2/00000000000000000007/manifest-41";
/// assert_eq!(parse_manifest_name(name), Some((2, Epoch(7), Token(41))));
/// ```
#[must_use]
pub fn parse_manifest_name(name: &str) -> Option<(u32, Epoch, Token)> {
    let (generation, epoch, file) = split(name)?;
    Some((generation, epoch, Token(file.strip_prefix("manifest-")?.parse().ok()?)))
}

/// The token of the incarnation that wrote the object of this name; `None` when it is not a name of ours.
#[must_use]
pub fn parse_token(name: &str) -> Option<Token> {
    let (.., file) = split(name)?;
    let token = match file.strip_suffix(".state") {
        Some(state) => state.rsplit_once('-')?.1,
        None => file.strip_prefix("manifest-")?,
    };
    Some(Token(token.parse().ok()?))
}

fn split(name: &str) -> Option<(u32, Epoch, &str)> {
    let mut parts = name.strip_prefix("state/")?.split('/').skip(1);
    let (generation, epoch, file) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
    parts.next().is_none().then_some((generation, Epoch(epoch), file))
}

pub(super) fn object_name(pipeline: &str, generation: u32, epoch: Epoch, state: &str, worker: u32, token: Token) -> String {
    format!("{}{}-w{worker}-{token}.state", folder(pipeline, generation, epoch), sanitised(state), token = token.0)
}

pub(super) fn manifest_name(pipeline: &str, generation: u32, epoch: Epoch, token: Token) -> String {
    format!("{}manifest-{}", folder(pipeline, generation, epoch), token.0)
}

/// The epoch has leading zeros, so that names sort by it.
fn folder(pipeline: &str, generation: u32, epoch: Epoch) -> String {
    format!("{}{generation}/{:020}/", pipeline_prefix(pipeline), epoch.0)
}

/// Letters, digits, `_`, `-` and `.` (but not in front) stay; any other byte becomes `=` and two hex digits. Different names
/// stay different, and none leads out of its folder.
fn sanitised(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (i, byte) in name.bytes().enumerate() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'-' => out.push(char::from(byte)),
            b'.' if i > 0 => out.push('.'),
            _ => write!(out, "={byte:02x}").unwrap_or_else(|_| unreachable!("a String takes everything")),
        }
    }
    if out.is_empty() { "=".into() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_never_leave_their_folder() {
        for pipeline in ["fraud.spend", "../x", "..", "a/b", "", "spend 10 s", "größe", "a=2fb"] {
            let name = object_name(pipeline, 3, Epoch(9), "../sum-w1-5.state", 2, Token(77));
            assert_eq!(name.split('/').count(), 5, "{name}");
            assert!(!name.contains("/.") && object_store::path::Path::parse(&name).unwrap().as_ref() == name, "{name}");
            assert!(name.starts_with(&pipeline_prefix(pipeline)), "{name}");
            assert_eq!(parse_token(&name), Some(Token(77)));
            assert_eq!(parse_manifest_name(&name), None);
            let manifest = manifest_name(pipeline, 3, Epoch(9), Token(77));
            assert_eq!(parse_manifest_name(&manifest), Some((3, Epoch(9), Token(77))));
            assert_eq!(parse_token(&manifest), Some(Token(77)));
        }
        assert_ne!(sanitised("a/b"), sanitised("a=2fb"));
    }
}
