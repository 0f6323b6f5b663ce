//! `#[derive(Event)]`.

use crate::nearest;
use crate::settings::{self, Known, Setting, collect, duration_ms};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Expr, ExprLit, Field, Fields, Ident, Lit, LitStr, Meta, MetaNameValue, Result};

const KNOWN: [Known; 8] = [
    ("topic", Some("payments")),
    ("id", Some("payment_id")),
    ("time", Some("at")),
    ("subject", Some("user_id")),
    ("no_personal_data", None),
    ("key", Some("user_id")),
    ("delay", Some("5s")),
    ("max_ahead", Some("1h")),
];

const SHAPE: &str = "#[event(topic = \"...\", id = \"field\", time = \"field\", subject = \"field\")]";
const MAX_AHEAD_MS: i64 = 3_600_000;
const TOPIC_CHARS_MAX: usize = 249;

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let fields = named_fields(input)?;
    Ok(implementation(&input.ident, &read(input, &fields)?))
}

/// An event type as the derive understands it.
struct Plan<'a> {
    topic: LitStr,
    id: &'a Field,
    time: &'a Field,
    subject: Option<&'a Field>,
    key: Option<&'a Field>,
    delay_ms: i64,
    max_ahead_ms: i64,
    comments: Vec<(String, String)>,
}

fn named_fields(input: &DeriveInput) -> Result<Vec<&Field>> {
    let remedy = "an event is a struct with named fields";
    let data = match &input.data {
        Data::Struct(data) => data,
        Data::Enum(data) => {
            let what = format!(
                "`{}` is an enum, but {remedy}: give each kind of event its own struct and topic, or put the enum into a field",
                input.ident
            );
            return Err(Error::new(data.enum_token.span, what));
        }
        Data::Union(data) => {
            return Err(Error::new(data.union_token.span, format!("`{}` is a union, but {remedy}", input.ident)));
        }
    };
    if !input.generics.params.is_empty() {
        let what = format!("`{}` is generic, but an event is one definite type: write the types out", input.ident);
        return Err(Error::new_spanned(&input.generics, what));
    }
    match &data.fields {
        Fields::Named(named) => Ok(named.named.iter().collect()),
        Fields::Unnamed(tuple) => {
            let what = format!(
                "the fields of `{}` have no names, but {remedy}: name them, so that `id` and `time` can be told",
                input.ident
            );
            Err(Error::new_spanned(tuple, what))
        }
        Fields::Unit => Err(Error::new(input.ident.span(), format!("`{}` has no fields, but {remedy}", input.ident))),
    }
}

fn read<'a>(input: &DeriveInput, fields: &[&'a Field]) -> Result<Plan<'a>> {
    let attributes: Vec<&Attribute> = input.attrs.iter().filter(|a| a.path().is_ident("event")).collect();
    let Some(&attribute) = attributes.first() else {
        return Err(Error::new(input.ident.span(), format!("`{}` says nothing about its events: add `{SHAPE}`", input.ident)));
    };

    let mut errors = None;
    let mut given: Vec<Setting> = Vec::new();
    for attribute in attributes {
        let read = attribute.parse_nested_meta(|meta| {
            collect(&mut errors, settings::read("#[event(...)]", &KNOWN, &mut given, &meta));
            Ok(())
        });
        collect(&mut errors, read);
    }
    // What is missing is told only when all that is there was understood: a slip of the pen is not also an omission.
    let understood = errors.is_none();

    let mut field = |key: &str, meaning: &str| -> Option<&'a Field> {
        match settings::find(&given, key).and_then(|s| s.text.as_ref()) {
            Some(name) => collect(&mut errors, find_field(&input.ident, fields, key, name)),
            None if understood && !meaning.is_empty() => {
                let what = format!("`{key}` is missing: name the field {meaning}, one of {}", field_list(fields));
                collect(&mut errors, Err(Error::new_spanned(attribute, what)))
            }
            None => None,
        }
    };
    let id = field("id", "that identifies the event");
    let time = field("time", "that says when it happened");
    let subject = field("subject", "");
    let key = field("key", "");

    let topic = match settings::find(&given, "topic").and_then(|s| s.text.as_ref()) {
        Some(topic) => collect(&mut errors, check_topic(topic)),
        None if understood => {
            let what = "`topic` is missing: add `topic = \"...\"`, the bus topic these events stand in";
            collect(&mut errors, Err(Error::new_spanned(attribute, what)))
        }
        None => None,
    };
    if understood {
        collect(&mut errors, check_personal(attribute, &given, fields));
    }
    let mut duration = |key: &str, default| match settings::find(&given, key).and_then(|s| s.text.as_ref()) {
        Some(text) => collect(&mut errors, duration_ms(text)),
        None => Some(default),
    };
    let (delay_ms, max_ahead_ms) = (duration("delay", 0), duration("max_ahead", MAX_AHEAD_MS));

    match (errors, topic, id, time, delay_ms, max_ahead_ms) {
        (None, Some(topic), Some(id), Some(time), Some(delay_ms), Some(max_ahead_ms)) => {
            let comments = fields.iter().filter_map(|field| Some((field_name(field), doc(field)?))).collect();
            Ok(Plan { topic, id, time, subject, key, delay_ms, max_ahead_ms, comments })
        }
        (Some(errors), ..) => Err(errors),
        (None, ..) => unreachable!("what is absent has left an error"),
    }
}

fn find_field<'a>(event: &Ident, fields: &[&'a Field], key: &str, name: &LitStr) -> Result<&'a Field> {
    let wanted = name.value();
    let found = fields.iter().find(|f| field_name(f) == wanted);
    found.copied().ok_or_else(|| {
        let names: Vec<String> = fields.iter().map(|f| field_name(f)).collect();
        let what = format!("`{event}` has no field `{wanted}` for its `{key}`: {}", nearest::remedy(&wanted, &names));
        Error::new(name.span(), what)
    })
}

/// The first paragraph of a field's doc comment, on one line.
fn doc(field: &Field) -> Option<String> {
    let lines = field.attrs.iter().filter(|a| a.path().is_ident("doc")).filter_map(|a| match &a.meta {
        Meta::NameValue(MetaNameValue { value: Expr::Lit(ExprLit { lit: Lit::Str(text), .. }), .. }) => Some(text.value()),
        _ => None,
    });
    let paragraph: Vec<String> = lines.map(|line| line.trim().to_string()).take_while(|line| !line.is_empty()).collect();
    Some(paragraph.join(" ")).filter(|text| !text.is_empty())
}

/// A field's name without `r#`.
fn field_name(field: &Field) -> String {
    field.ident.as_ref().map(|i| i.unraw().to_string()).unwrap_or_default()
}

fn field_list(fields: &[&Field]) -> String {
    let names: Vec<String> = fields.iter().map(|f| field_name(f)).collect();
    if names.is_empty() { "its fields (it has none yet)".to_string() } else { nearest::list(&names) }
}

/// Exactly one of `subject` and `no_personal_data`: who forgets to say so has not thought about deletion.
fn check_personal(attribute: &Attribute, given: &[Setting], fields: &[&Field]) -> Result<()> {
    match (settings::find(given, "subject"), settings::find(given, "no_personal_data")) {
        (Some(_), None) | (None, Some(_)) => Ok(()),
        (Some(_), Some(none)) => {
            let what =
                "`subject` and `no_personal_data` exclude each other: remove `no_personal_data` if the events are about a person";
            Err(Error::new(none.span, what))
        }
        (None, None) => {
            let what = format!(
                "whom are these events about? add `subject = \"field\"` with the field that names the person, one of {}, \
                 or `no_personal_data` if they are about nobody",
                field_list(fields)
            );
            Err(Error::new_spanned(attribute, what))
        }
    }
}

fn check_topic(topic: &LitStr) -> Result<LitStr> {
    let name = topic.value();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=TOPIC_CHARS_MAX).contains(&name.len()) && name.chars().all(legal) && !matches!(name.as_str(), "." | "..") {
        return Ok(topic.clone());
    }
    let what = format!("`{name}` cannot be a topic: use 1 to {TOPIC_CHARS_MAX} ASCII letters, digits, `.`, `_` and `-`");
    Err(Error::new(topic.span(), what))
}

fn implementation(event: &Ident, plan: &Plan<'_>) -> TokenStream {
    let Plan { topic, id, time, subject, key, delay_ms, max_ahead_ms, comments } = plan;
    let comments = comments.iter().map(|(field, text)| quote!((#field, #text)));
    let event_name = event.unraw().to_string();
    let (id_name, time_name) = (field_name(id), field_name(time));
    let key_name = field_name(key.or(*subject).unwrap_or(id));
    let subject_name = match subject.map(field_name) {
        Some(name) => quote!(::core::option::Option::Some(#name)),
        None => quote!(::core::option::Option::None),
    };
    // A call on a field has the span of the field's type, so that a type that does not fit is what gets underlined.
    let on_field = |field: &Field, path: TokenStream, method: TokenStream| {
        let (name, ty) = (&field.ident, &field.ty);
        quote_spanned!(ty.span()=> <#ty as #path>::#method(&self.#name))
    };
    let (id_type, id_field) = (&id.ty, &id.ident);
    let time_of = on_field(time, quote!(::distributary::event::AsTimestamp), quote!(as_timestamp));
    let subject_of = match subject {
        Some(field) => on_field(field, quote!(::distributary::event::AsSubject), quote!(as_subject)),
        None => quote!(::core::option::Option::None),
    };
    // Not a plain clone: the bound on `Event::Id` alone would complain about a part of `Key`, without the remedy.
    let id_of = quote_spanned!(id_type.span()=> ::distributary::event::id_of::<#id_type>(&self.#id_field));
    let id_text = quote!(::distributary::codec::key_text(&self.#id_field));
    let key_of = match (key.map(|k| &k.ident), subject) {
        (Some(key), _) => quote!(::distributary::codec::key_text(&self.#key)),
        (None, None) => id_text,
        (None, Some(_)) => quote! {
            match ::distributary::event::Event::subject(self) {
                ::core::option::Option::Some(subject) => ::core::option::Option::Some(subject.as_bytes().to_vec()),
                ::core::option::Option::None => #id_text,
            }
        },
    };
    quote! {
        #[automatically_derived]
        impl ::distributary::event::Event for #event {
            type Id = #id_type;
            const TOPIC: &'static str = #topic;

            fn id(&self) -> #id_type {
                #id_of
            }

            fn time(&self) -> ::distributary::timestamp::Timestamp {
                #time_of
            }

            fn subject(&self) -> ::core::option::Option<::std::borrow::Cow<'_, str>> {
                #subject_of
            }

            fn key(&self) -> ::core::option::Option<::std::vec::Vec<u8>> {
                #key_of
            }

            fn describe() -> ::distributary::event::EventDescription {
                ::distributary::event::EventDescription {
                    rust_type: #event_name,
                    topic: #topic,
                    id: #id_name,
                    time: #time_name,
                    subject: #subject_name,
                    key: #key_name,
                    delay_ms: #delay_ms,
                    max_ahead_ms: #max_ahead_ms,
                    comments: &[#(#comments),*],
                }
            }
        }
    }
}
