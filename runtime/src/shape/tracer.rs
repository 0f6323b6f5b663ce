//! A deserializer that notes every question, and answers it.

use super::answers::{Answers, Asked, Fill};
use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use std::fmt;

/// Nesting beyond which a type is taken to be recursive.
const DEPTH_MAX: usize = 24;
/// So deep lists have several elements, if they are to; deeper ones have one.
const FULL_LISTS: usize = 2;
/// Elements of a list that has several: a set that keeps no order writes so many in another order, but for a rare accident.
const ELEMENTS: u8 = 8;

#[derive(Clone, Copy)]
pub(super) struct Tracer<'a> {
    asked: &'a Asked<'a>,
    answers: Answers,
    depth: usize,
    /// How many lists it is in.
    lists: usize,
    /// Which element of a list it is in, from 1 on; 0 if there is nothing to tell apart.
    element: u8,
}

impl<'a> Tracer<'a> {
    pub(super) fn new(asked: &'a Asked<'a>, answers: Answers) -> Self {
        Self { asked, answers, depth: 0, lists: 0, element: 0 }
    }

    fn say(&self, what: impl fmt::Display) {
        self.asked.note(what);
    }

    fn deeper(self) -> Result<Self, Stop> {
        if self.depth == DEPTH_MAX {
            self.say("..");
            return Err(Stop);
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn number(&self) -> u8 {
        self.answers.number + self.element
    }

    /// The fields of a tuple or a struct.
    fn fields(self, left: usize) -> Result<Parts<'a>, Stop> {
        Ok(Parts { tracer: self.deeper()?, left, step: 0 })
    }

    /// What is in a list or a map.
    fn elements(self) -> Result<Parts<'a>, Stop> {
        let tracer = self.deeper()?;
        let first = tracer.element * ELEMENTS;
        let (left, before, step) = match tracer.answers.fill {
            Fill::Nothing => (0, tracer.element, 0),
            Fill::Rising if tracer.lists < FULL_LISTS => (ELEMENTS, first, 1),
            Fill::Falling if tracer.lists < FULL_LISTS => (ELEMENTS, first + ELEMENTS + 1, -1),
            _ => (1, tracer.element, 0),
        };
        Ok(Parts { tracer: Tracer { lists: tracer.lists + 1, element: before, ..tracer }, left: left.into(), step })
    }
}

/// The end of a description.
#[derive(Debug)]
pub(super) struct Stop;

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
    ($($method:ident $visit:ident |$n:ident| $value:expr, $name:literal;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            self.say($name);
            let $n = self.number();
            visitor.$visit($value)
        }
    )+};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Stop;

    plain! {
        deserialize_bool visit_bool |n| n > 0, "bool";
        deserialize_i8 visit_i8 |n| n as i8, "i8";
        deserialize_i16 visit_i16 |n| n.into(), "i16";
        deserialize_i32 visit_i32 |n| n.into(), "i32";
        deserialize_i64 visit_i64 |n| n.into(), "i64";
        deserialize_i128 visit_i128 |n| n.into(), "i128";
        deserialize_u8 visit_u8 |n| n, "u8";
        deserialize_u16 visit_u16 |n| n.into(), "u16";
        deserialize_u32 visit_u32 |n| n.into(), "u32";
        deserialize_u64 visit_u64 |n| n.into(), "u64";
        deserialize_u128 visit_u128 |n| n.into(), "u128";
        deserialize_char visit_char |n| char::from(b' ' + n), "char";
        deserialize_bytes visit_bytes |n| &[n; 16], "bytes";
        deserialize_byte_buf visit_byte_buf |n| vec![n; 16], "bytes";
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("f32");
        self.asked.float.set(true);
        visitor.visit_f32(self.number().into())
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("f64");
        self.asked.float.set(true);
        visitor.visit_f64(self.number().into())
    }

    /// The name of a field, where fields go by their names.
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("name");
        self.asked.any.set(true);
        visitor.visit_str("")
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("str");
        match self.element {
            0 => visitor.visit_str(self.answers.text),
            element => visitor.visit_str(&format!("{}{element}", self.answers.text)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    /// A type that asks what there is (a JSON value) has no shape of its own.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("any");
        self.asked.any.set(true);
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
        match self.answers.fill {
            Fill::Nothing => visitor.visit_none(),
            _ => visitor.visit_some(self.deeper()?),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Stop> {
        self.say(format_args!("{name}="));
        visitor.visit_newtype_struct(self.deeper()?)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("[");
        let value = visitor.visit_seq(self.elements()?);
        self.say("]");
        value
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.say("(");
        let value = visitor.visit_seq(self.fields(len)?);
        self.say(")");
        value
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, name: &'static str, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.say(name);
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.say("{");
        let value = visitor.visit_map(self.elements()?);
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
        let value = visitor.visit_seq(self.fields(fields.len())?);
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
        let number = self.asked.variant_of((name, variants));
        visitor.visit_enum(Variant { tracer: self.deeper()?, number })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The parts of a sequence, tuple, struct or map.
struct Parts<'a> {
    tracer: Tracer<'a>,
    left: usize,
    /// From the number of one element to that of the next.
    step: i8,
}

impl Parts<'_> {
    /// Whether there is one more.
    fn next(&mut self) -> bool {
        let is_there = self.left > 0;
        if is_there {
            self.left -= 1;
            self.tracer.element = self.tracer.element.wrapping_add_signed(self.step);
        }
        is_there
    }
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        if !self.next() {
            return Ok(None);
        }
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
        if self.next() { seed.deserialize(self.tracer).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        self.tracer.say(" -> ");
        seed.deserialize(self.tracer)
    }
}

/// A variant of an enum: it alone is looked into; of the others the names stand.
struct Variant<'a> {
    tracer: Tracer<'a>,
    number: u32,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Stop;
    type Variant = Tracer<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Tracer<'a>), Stop> {
        let number = de::value::U32Deserializer::<Stop>::new(self.number);
        Ok((seed.deserialize(number)?, self.tracer))
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
