//! Which columns a type has: a value of it, the least there is, is asked to write itself as JSON, and every answer is written down.

use distributary_runtime::shape;
use distributary_runtime::table::{Column, ColumnType};
use distributary_runtime::time::EventTime;
use serde::de::DeserializeOwned;
use serde::ser::{self, Impossible, Serialize, SerializeSeq, SerializeStruct, SerializeTuple, SerializeTupleStruct, Serializer};
use std::fmt;

/// A `u64` has so many digits.
const U64_DIGITS: u8 = 20;
/// The most that a decimal has. What is longer is no row.
const I128_DIGITS: u8 = 38;

/// The columns of `T`.
///
/// # Errors
/// What keeps `T` from being a row.
pub(super) fn columns<T: Serialize + DeserializeOwned>() -> Result<Vec<Column>, String> {
    let name = std::any::type_name::<T>();
    let sample: T =
        shape::sample().ok_or_else(|| format!("`{name}` does not show its fields: a type in it takes no empty value"))?;
    let found = sample.serialize(Probe).map_err(|Unfit(what)| format!("`{name}` is no row: {what}"))?;
    match found {
        Found { data_type: ColumnType::Struct(columns), nullable: false } => Ok(columns),
        _ => Err(format!("`{name}` is no row: it is no struct")),
    }
}

#[derive(Clone, Copy)]
struct Probe;

/// What a value becomes.
struct Found {
    data_type: ColumnType,
    nullable: bool,
}

impl Found {
    fn column(self, name: &str) -> Column {
        Column { nullable: self.nullable, ..Column::required(name, self.data_type) }
    }
}

/// Why a value has no column.
#[derive(Debug)]
struct Unfit(String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

impl ser::Error for Unfit {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

fn is(data_type: ColumnType) -> Result<Found, Unfit> {
    Ok(Found { data_type, nullable: false })
}

fn no(what: &str) -> Unfit {
    Unfit(what.to_string())
}

const MAP: &str = "a map has no columns; make it a struct, or a list of structs";
const ENUM: &str = "an enum that carries data has no column; make it a struct of optional fields";
const NOTHING: &str = "nothing (`()`, a unit struct) has no column; leave it out";

macro_rules! plain {
    ($($method:ident $t:ty => $column:expr;)+) => {$(
        fn $method(self, _: $t) -> Result<Found, Unfit> {
            is($column)
        }
    )+};
}

impl Serializer for Probe {
    type Ok = Found;
    type Error = Unfit;
    type SerializeSeq = Elements;
    type SerializeTuple = Fields;
    type SerializeTupleStruct = Fields;
    type SerializeTupleVariant = Impossible<Found, Unfit>;
    type SerializeMap = Impossible<Found, Unfit>;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Impossible<Found, Unfit>;

    plain! {
        serialize_bool bool => ColumnType::Bool;
        serialize_i8 i8 => ColumnType::Int8;
        serialize_i16 i16 => ColumnType::Int16;
        serialize_i32 i32 => ColumnType::Int32;
        serialize_i64 i64 => ColumnType::Int64;
        serialize_i128 i128 => ColumnType::Decimal { precision: I128_DIGITS, scale: 0 };
        serialize_u8 u8 => ColumnType::Int16;
        serialize_u16 u16 => ColumnType::Int32;
        serialize_u32 u32 => ColumnType::Int64;
        serialize_u64 u64 => ColumnType::Decimal { precision: U64_DIGITS, scale: 0 };
        serialize_u128 u128 => ColumnType::Decimal { precision: I128_DIGITS, scale: 0 };
        serialize_f32 f32 => ColumnType::Float64;
        serialize_f64 f64 => ColumnType::Float64;
        serialize_char char => ColumnType::Text;
        serialize_str &str => ColumnType::Text;
        serialize_bytes &[u8] => ColumnType::Binary;
    }

    /// The sample has a value everywhere.
    fn serialize_none(self) -> Result<Found, Unfit> {
        Err(no("a value that is never there has no column"))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Found, Unfit> {
        Ok(Found { nullable: true, ..value.serialize(self)? })
    }

    fn serialize_unit(self) -> Result<Found, Unfit> {
        Err(no(NOTHING))
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Found, Unfit> {
        Err(no(NOTHING))
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<Found, Unfit> {
        is(ColumnType::Text)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<Found, Unfit> {
        match name {
            EventTime::NAME => is(ColumnType::Timestamp),
            _ => value.serialize(self),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Found, Unfit> {
        Err(no(ENUM))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements, Unfit> {
        Ok(Elements { found: None })
    }

    fn serialize_tuple(self, _: usize) -> Result<Fields, Unfit> {
        Ok(Fields { columns: Vec::new() })
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Fields, Unfit> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unfit> {
        Err(no(ENUM))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Unfit> {
        Err(no(MAP))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields, Unfit> {
        Ok(Fields { columns: Vec::new() })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unfit> {
        Err(no(ENUM))
    }
}

/// A list: its elements are alike.
struct Elements {
    found: Option<Found>,
}

impl SerializeSeq for Elements {
    type Ok = Found;
    type Error = Unfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
        self.found = Some(value.serialize(Probe)?);
        Ok(())
    }

    fn end(self) -> Result<Found, Unfit> {
        let Found { data_type, nullable } = self.found.ok_or_else(|| no("a list that is always empty has no column"))?;
        is(ColumnType::List { element: Box::new(data_type), nullable })
    }
}

/// A struct, or a tuple, whose fields are `f0`, `f1` and so on.
struct Fields {
    columns: Vec<Column>,
}

impl Fields {
    fn add<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Unfit> {
        let within = |Unfit(what): Unfit| match what.strip_prefix('`') {
            Some(path) => Unfit(format!("`{name}.{path}")),
            None => Unfit(format!("`{name}`: {what}")),
        };
        self.columns.push(value.serialize(Probe).map_err(within)?.column(name));
        Ok(())
    }

    fn found(self) -> Result<Found, Unfit> {
        is(ColumnType::Struct(self.columns))
    }
}

impl SerializeStruct for Fields {
    type Ok = Found;
    type Error = Unfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unfit> {
        self.add(name, value)
    }

    fn end(self) -> Result<Found, Unfit> {
        self.found()
    }
}

impl SerializeTuple for Fields {
    type Ok = Found;
    type Error = Unfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
        self.add(&format!("f{}", self.columns.len()), value)
    }

    fn end(self) -> Result<Found, Unfit> {
        self.found()
    }
}

impl SerializeTupleStruct for Fields {
    type Ok = Found;
    type Error = Unfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unfit> {
        SerializeTuple::serialize_element(self, value)
    }

    fn end(self) -> Result<Found, Unfit> {
        self.found()
    }
}
