//! The macros of Distributary: `#[derive(Event)]` and `#[job]`. Users get them through the `distributary` crate, whose
//! traits their output names; what they mean is written there.
//!
//! A mistake is reported where it stands, by the name of the field, with the remedy; all mistakes at once.

mod event;
mod job;
mod nearest;
mod settings;

use proc_macro::TokenStream;

/// Makes a struct an event: see the trait `distributary::Event`.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    event::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a function `fn name(flow: &Flow) -> Result<()>` a job: see `distributary::Job`.
#[proc_macro_attribute]
pub fn job(settings: TokenStream, item: TokenStream) -> TokenStream {
    job::expand(settings.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
