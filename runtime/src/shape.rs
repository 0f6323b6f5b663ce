//! The shape of a type, as its `Deserialize` asks for it: names of fields and variants, and what is inside. State written
//! by one shape is not read by another.
//!
//! The idea is `serde-reflection`'s: hand the type a deserializer that writes down every question and answers with the
//! least there is: zero, the text `0`, sixteen zero bytes (which make a UUID and a decimal). A type that does not take the
//! answer ends the description there; the names of all fields stand before the first is looked into, and what was asked up
//! to then is the same in every run.

use crate::user_code::catch;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::cell::RefCell;
use std::fmt::{self, Write};

/// What texts say, each tried in all of them.
const TEXTS: [&str; 3] = ["0", "1970-01-01T00:00:00Z", "1970-01-01"];
/// Nesting beyond which a type is taken to be recursive.
const DEPTH_MAX: usize = 24;

/// Describes `T`.
///
/// ```
/// use distributary_runtime::shape::of;
/// #[derive(serde::Deserialize)]
/// struct Acc { count: u64, last: Option<String> }
/// assert!(of::<Acc>().ends_with("Acc{count,last: u64, ?str}"));
/// assert_ne!(of::<(u32, u32)>(), of::<(u32, u64)>());
/// ```
#[must_use]
pub fn of<T: DeserializeOwned>() -> String {
    let text = RefCell::new(String::new());
    // What is not described is told apart by the type's name alone.
    let _ = catch(|| T::deserialize(Tracer { text: &text, answer: TEXTS[0], depth: 0 }).is_ok());
    let shape = text.into_inner();
    let name = std::any::type_name::<T>();
    match name.rsplit("::").next() {
        Some(last) if shape.starts_with(last) => format!("{}{shape}", &name[..name.len() - last.len()]),
        _ if shape == name => shape,
        _ => format!("{name}={shape}"),
    }
}

/// A value of a type, the least there is: zeros, texts that say `0` (or, where that is refused, a time), one element in every list. `None`
/// of a type that takes none of that.
///
/// ```
/// use distributary_runtime::shape::sample;
/// assert_eq!(sample::<(u32, Option<String>, Vec<bool>)>(), Some((0, Some("0".into()), vec![false])));
/// ```
#[must_use]
pub fn sample<T: DeserializeOwned>() -> Option<T> {
    let with = |answer| catch(|| T::deserialize(Tracer { text: &RefCell::default(), answer, depth: 0 }).ok()).ok().flatten();
    TEXTS.into_iter().find_map(with)
}

#[derive(Clone, Copy)]
struct Tracer<'a> {
    text: &'a RefCell<String>,
    /// What a text says.
    answer: &'static str,
    depth: usize,
}

impl Tracer<'_> {
    fn say(&self, what: impl fmt::Display) {
        write!(self.text.borrow_mut(), "{what}").unwrap_or_else(|_| unreachable!("a String takes everything"));
    }

    fn deeper(self) -> Result<Self, Stop> {
        if self.depth == DEPTH_MAX {
            self.say("..");
            return Err(Stop);
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

/// The end of a description.
#[derive(Debug)]
struct Stop;

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the type takes no empty value")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

macro_rules! plain {
    ($($method:ident $visit:ident $value:expr, $name:literal;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            self.say($name);
            visitor.$visit($value)
        }
    )+};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Stop;

    plain! {
        deserialize_bool visit_bool false, "bool";
        deserialize_i8 visit_i8 0, "i8";
        deserialize_i16 visit_i16 0, "i16";
        deserialize_i32 visit_i32 0, "i32";
        deserialize_i64 visit_i64 0, "i64";
        deserialize_i128 visit_i128 0, "i128";
        deserialize_u8 visit_u8 0, "u8";
        deserialize_u16 visit_u16 0, "u16";
        deserialize_u32 visit_u32 0, "u32";
        deserialize_u64 visit_u64 0, "u64";
        deserialize_u128 visit_u128 0, "u128";
        deserialize_f32 visit_f32 0.0, "f32";
        deserialize_f64 visit_f64 0.0, "f64";
        deserialize_char visit_char ' ', "char";
        deserialize_bytes visit_bytes &[0; 16], "bytes";
        deserialize_byte_buf visit_byte_buf vec![0; 16], "bytes";
        deserialize_identifier visit_str "", "name";
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("str");
        visitor.visit_str(self.answer)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    /// A type that asks what there is (a JSON value) has no shape of its own.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("any");
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("ignored");
        visitor.visit_unit()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("()");
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Stop> {
        self.say(name);
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("?");
        visitor.visit_some(self.deeper()?)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Stop> {
        self.say(format_args!("{name}="));
        visitor.visit_newtype_struct(self.deeper()?)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("[");
        let value = visitor.visit_seq(Parts { tracer: self.deeper()?, left: 1 });
        self.say("]");
        value
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.say("(");
        let value = visitor.visit_seq(Parts { tracer: self.deeper()?, left: len });
        self.say(")");
        value
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, name: &'static str, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.say(name);
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("{");
        let value = visitor.visit_map(Parts { tracer: self.deeper()?, left: 1 });
        self.say("}");
        value
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.say(format_args!("{name}{{{}: ", fields.join(",")));
        let value = visitor.visit_seq(Parts { tracer: self.deeper()?, left: fields.len() });
        self.say("}");
        value
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.say(format_args!("{name}<{}> ", variants.join("|")));
        visitor.visit_enum(self.deeper()?)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The parts of a sequence, tuple, struct or map.
struct Parts<'a> {
    tracer: Tracer<'a>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let value = seed.deserialize(self.tracer).map(Some);
        if self.left > 0 {
            self.tracer.say(", ");
        }
        value
    }
}

impl<'de> MapAccess<'de> for Parts<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(self.tracer).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        self.tracer.say(" -> ");
        seed.deserialize(self.tracer)
    }
}

/// The first variant is looked into; of the others the names stand.
impl<'de> EnumAccess<'de> for Tracer<'_> {
    type Error = Stop;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Stop> {
        let first = de::value::U32Deserializer::<Stop>::new(0);
        Ok((seed.deserialize(first)?, self))
    }
}

impl<'de> VariantAccess<'de> for Tracer<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_struct("", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only its shape matters")]
    enum Kind {
        Plain(u8),
        Rich { of: Vec<i64> },
    }

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only its shape matters")]
    struct List {
        next: Option<Box<List>>,
    }

    #[test]
    fn shapes_tell_what_is_inside() {
        assert!(of::<Kind>().ends_with("Kind<Plain|Rich> u8"), "{}", of::<Kind>());
        assert!(of::<BTreeMap<u8, Vec<bool>>>().ends_with("{u8 -> [bool]}"));
        assert!(of::<(char, String)>().ends_with("(char, str)"));
    }

    #[test]
    fn a_recursive_type_has_an_end() {
        assert!(of::<List>().contains(".."));
    }
}
