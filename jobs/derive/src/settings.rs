//! What stands between the brackets of `#[event(...)]` and `#[job(...)]`.

use crate::nearest;
use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::{Error, Expr, ExprLit, Lit, LitStr, Result, Token};

/// One setting: `key = "text"`, or a bare `key`.
pub(crate) struct Setting {
    pub(crate) key: &'static str,
    pub(crate) span: Span,
    /// `None` for a bare key.
    pub(crate) text: Option<LitStr>,
}

/// A key that may stand there, and an example of its text (`None`: it stands bare).
pub(crate) type Known = (&'static str, Option<&'static str>);

/// Reads one setting into `settings`. `attribute` is the name of the attribute, for messages.
pub(crate) fn read(attribute: &str, known: &[Known], settings: &mut Vec<Setting>, meta: &ParseNestedMeta) -> Result<()> {
    let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
    let Some(&(key, example)) = known.iter().find(|(key, _)| *key == name) else {
        let names: Vec<String> = known.iter().map(|(key, _)| (*key).to_string()).collect();
        value(meta)?;
        return Err(meta.error(format!("unknown setting `{name}` in `{attribute}`: {}", nearest::remedy(&name, &names))));
    };
    let text = match (example, value(meta)?) {
        (Some(_), Some(Expr::Lit(ExprLit { lit: Lit::Str(text), .. }))) => Some(text),
        (Some(example), other) => {
            let what = format!("`{key}` takes text in quotes: `{key} = \"{example}\"`");
            return Err(other.map_or_else(|| meta.error(&what), |value| Error::new_spanned(value, &what)));
        }
        (None, Some(value)) => return Err(Error::new_spanned(value, format!("`{key}` stands alone: remove its value"))),
        (None, None) => None,
    };
    if settings.iter().any(|s| s.key == key) {
        return Err(meta.error(format!("`{key}` is given twice: keep one")));
    }
    settings.push(Setting { key, span: meta.path.get_ident().map_or_else(Span::call_site, syn::Ident::span), text });
    Ok(())
}

/// What follows the key: it is passed over even where it is wrong, so that the error names it and nothing behind it.
fn value(meta: &ParseNestedMeta) -> Result<Option<Expr>> {
    if meta.input.peek(Token![=]) {
        return meta.value()?.parse().map(Some);
    }
    if meta.input.is_empty() || meta.input.peek(Token![,]) { Ok(None) } else { meta.input.parse().map(Some) }
}

/// The setting of this key, if it is given.
pub(crate) fn find<'a>(settings: &'a [Setting], key: &str) -> Option<&'a Setting> {
    settings.iter().find(|s| s.key == key)
}

/// A duration such as `250ms`, `5s`, `2m`, `1h`, `1d`, in milliseconds.
pub(crate) fn duration_ms(text: &LitStr) -> Result<i64> {
    let value = text.value();
    let wrong = || {
        let remedy = "write a whole number and a unit (ms, s, m, h, d), such as `250ms` or `5s`";
        Error::new(text.span(), format!("`{value}` is not a duration: {remedy}"))
    };
    let digits = value.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let unit = match &value[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    value[..digits].parse::<i64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(wrong)
}

/// Adds an error to those found so far.
pub(crate) fn collect<T>(errors: &mut Option<Error>, result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(e) => {
            match errors {
                Some(all) => all.combine(e),
                None => *errors = Some(e),
            }
            None
        }
    }
}
