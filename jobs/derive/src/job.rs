//! `#[job(team = "...")]`.

use crate::settings::{self, Known, Setting, collect};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::{
    Attribute, Error, Expr, FnArg, GenericArgument, Item, ItemFn, Lit, LitStr, Meta, PathArguments, Result, ReturnType, Type,
};

const KNOWN: [Known; 1] = [("team", Some("fraud"))];
const SIGNATURE: &str = "a job is `fn name(flow: &Flow) -> Result<()>`";

/// The longest name of a team or job: both become part of topic and group names.
const NAME_CHARS_MAX: usize = 64;

pub(crate) fn expand(settings: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let item: Item = syn::parse2(item)?;
    let Item::Fn(function) = item else {
        return Err(Error::new_spanned(item, format!("`#[job]` stands on a function: {SIGNATURE}")));
    };
    let mut errors = None;
    let team = collect(&mut errors, read_team(settings));
    collect(&mut errors, check_signature(&function));
    collect(&mut errors, check_job_name(&function));
    match (errors, team) {
        (None, Some(team)) => Ok(constant(function, &team)),
        (Some(errors), _) => Err(errors),
        (None, None) => unreachable!("a team that is absent has left an error"),
    }
}

fn read_team(settings: TokenStream) -> Result<LitStr> {
    let mut given: Vec<Setting> = Vec::new();
    syn::meta::parser(|meta| settings::read("#[job(...)]", &KNOWN, &mut given, &meta)).parse2(settings)?;
    let Some(team) = given.into_iter().next().and_then(|s| s.text) else {
        let what = "`team` is missing: write `#[job(team = \"...\")]` with the team that owns the job";
        return Err(Error::new(Span::call_site(), what));
    };
    if is_name(&team.value(), "-_") {
        return Ok(team);
    }
    let what = format!(
        "`{}` cannot be a team: use lower-case letters, digits, `-` and `_`, a letter first, at most {NAME_CHARS_MAX}",
        team.value()
    );
    Err(Error::new(team.span(), what))
}

fn check_job_name(function: &ItemFn) -> Result<()> {
    let name = function.sig.ident.unraw().to_string();
    if is_name(&name, "_") {
        return Ok(());
    }
    let what = format!(
        "`{name}` cannot be a job: use lower_snake_case (letters, digits, `_`, a letter first, at most {NAME_CHARS_MAX}); the name \
         becomes part of topic names"
    );
    Err(Error::new(function.sig.ident.span(), what))
}

fn is_name(name: &str, marks: &str) -> bool {
    name.len() <= NAME_CHARS_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || marks.contains(c))
}

/// What tokens can tell; whether `Flow` and `Result` are ours, the compiler decides.
fn check_signature(function: &ItemFn) -> Result<()> {
    let sig = &function.sig;
    let wrong = |at: &dyn quote::ToTokens, what: &str| Err(Error::new_spanned(at, format!("{what}: {SIGNATURE}")));
    if let Some(asyncness) = &sig.asyncness {
        return wrong(asyncness, "a job only describes its flow, so it is not async");
    }
    if let Some(unsafety) = &sig.unsafety {
        return wrong(unsafety, "a job is not unsafe");
    }
    if !sig.generics.params.is_empty() {
        return wrong(&sig.generics, "a job is not generic");
    }
    match sig.inputs.first() {
        None => return wrong(&sig.ident, "a job takes the flow it builds on"),
        Some(FnArg::Typed(arg)) if is_flow(&arg.ty) => {}
        Some(arg) => return wrong(arg, "a job takes `&Flow`"),
    }
    if let Some(more) = sig.inputs.iter().nth(1) {
        return wrong(more, "a job takes nothing beside the flow");
    }
    match &sig.output {
        ReturnType::Type(_, ty) if is_result(ty) => Ok(()),
        ReturnType::Type(_, ty) => wrong(ty, "a job returns `Result<()>`"),
        ReturnType::Default => wrong(&sig.ident, "a job returns `Result<()>`"),
    }
}

fn is_flow(ty: &Type) -> bool {
    let Type::Reference(reference) = ty else { return false };
    let Type::Path(path) = &*reference.elem else { return false };
    reference.mutability.is_none() && path.path.segments.last().is_some_and(|s| s.ident == "Flow")
}

/// Anything named `Result` of `()`: an own alias or error type is the compiler's matter.
fn is_result(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    let Some(last) = path.path.segments.last().filter(|s| s.ident == "Result") else { return false };
    let PathArguments::AngleBracketed(args) = &last.arguments else { return false };
    matches!(args.args.first(), Some(GenericArgument::Type(Type::Tuple(unit))) if unit.elems.is_empty())
}

/// The function moves into the constant that takes its name.
fn constant(mut function: ItemFn, team: &LitStr) -> TokenStream {
    let name = function.sig.ident.clone();
    let text = name.unraw().to_string();
    let doc = doc_text(&function.attrs);
    let visibility = std::mem::replace(&mut function.vis, syn::Visibility::Inherited);
    let of_the_item = |a: &Attribute| ["doc", "cfg", "deprecated"].iter().any(|name| a.path().is_ident(name));
    let (outer, inner): (Vec<_>, Vec<_>) = std::mem::take(&mut function.attrs).into_iter().partition(of_the_item);
    function.attrs = inner;
    quote! {
        #(#outer)*
        #[allow(non_upper_case_globals)]
        #visibility const #name: ::distributary::job::Job = {
            #function
            ::distributary::job::Job::new(#text, #team, #doc, #name)
        };
    }
}

/// The doc comment as plain text, lines trimmed.
fn doc_text(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|a| a.path().is_ident("doc")).filter_map(|a| match &a.meta {
        Meta::NameValue(meta) => match &meta.value {
            Expr::Lit(lit) => match &lit.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.map(|l| l.trim().to_string()).collect::<Vec<_>>().join("\n").trim().to_string()
}
