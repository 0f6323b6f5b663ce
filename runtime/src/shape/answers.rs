//! What a type is told, and what it has asked.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// What a type is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    /// What texts say.
    pub(crate) text: &'static str,
    /// What numbers are.
    pub(crate) number: u8,
    /// What there is in options, lists and maps.
    pub(crate) fill: Fill,
}

/// What there is in options, lists and maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Nothing,
    One,
    /// Several elements in lists and maps, by their numbers.
    Rising,
    /// The same, the other way round.
    Falling,
}

impl Answers {
    /// The least there is: zero, and one of everything.
    pub(crate) const LEAST: Self = Self { text: "0", number: 0, fill: Fill::One };
}

/// An enum: its name, and its variants.
pub(crate) type Enum = (&'static str, &'static [&'static str]);

/// What a type has asked.
#[derive(Default)]
pub(crate) struct Asked<'a> {
    text: RefCell<String>,
    /// Which variant an enum is, the first time it asks; else it is the first one.
    variants: Option<&'a BTreeMap<Enum, u32>>,
    /// All enums, in the order in which they asked.
    pub(crate) enums: RefCell<Vec<Enum>>,
    /// Whether it asked for a float.
    pub(crate) float: Cell<bool>,
    /// Whether it asked what there is.
    pub(crate) any: Cell<bool>,
}

impl<'a> Asked<'a> {
    pub(crate) fn with_variants(variants: &'a BTreeMap<Enum, u32>) -> Self {
        Self { variants: Some(variants), ..Self::default() }
    }

    pub(super) fn note(&self, what: impl fmt::Display) {
        write!(self.text.borrow_mut(), "{what}").unwrap_or_else(|_| unreachable!("a String takes everything"));
    }

    /// All questions.
    pub(super) fn into_text(self) -> String {
        self.text.into_inner()
    }

    pub(super) fn variant_of(&self, asking: Enum) -> u32 {
        let mut enums = self.enums.borrow_mut();
        if enums.contains(&asking) {
            return 0;
        }
        enums.push(asking);
        self.variants.and_then(|variants| variants.get(&asking)).copied().unwrap_or(0)
    }
}
