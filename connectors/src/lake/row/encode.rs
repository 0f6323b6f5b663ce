//! From a result to a row: the result writes itself, and every value is written into its column, or refused.

mod parts;

use super::misfit::Misfit;
use super::read::{ABSENT, PRESENT};
use super::value::{self, OUT_OF_RANGE, Reason, Value};
use distributary_runtime::table::{Column, ColumnType};
use distributary_runtime::time::EventTime;
use parts::{Elements, Fields, Parts};
use serde::ser::{Impossible, Serialize, Serializer};

// What runs for every value is inlined: the type that is written lies in another crate.

/// Room that most rows need.
const ROW_BYTES: usize = 128;

const NULL: Reason = "is null or missing";
const NO_OBJECT: Reason = "is no object";

/// The row of a result: a struct (or a map whose keys are texts, or a tuple, whose parts are the columns in their order). A field that is
/// no column does not fit, and a number that is not finite is null, as in JSON.
///
/// ```
/// use distributary_connectors::lake::encode_row;
/// use distributary_runtime::table::{Column, ColumnType};
/// let columns = [Column::required("at", ColumnType::Timestamp), Column::nullable("user_id", ColumnType::Text)];
/// assert!(encode_row(&columns, &serde_json::json!({"at": "2026-01-02T03:04:05Z"})).is_ok());
/// let misfit = encode_row(&columns, &serde_json::json!({"user_id": "u1"})).unwrap_err();
/// assert_eq!(misfit.to_string(), "`at` is null or missing");
/// ```
///
/// # Errors
/// What does not fit.
pub fn encode_row<T: Serialize + ?Sized>(columns: &[Column], result: &T) -> Result<Vec<u8>, Misfit> {
    let mut to = Vec::with_capacity(ROW_BYTES);
    result.serialize(Encoder { to: &mut to, target: Target::Row(columns), null: Err(NO_OBJECT), form: Form::Text })?;
    Ok(to)
}

/// What a value is to become.
#[derive(Clone, Copy)]
enum Target<'a> {
    Row(&'a [Column]),
    Value(&'a ColumnType),
}

/// What a type that can be written in both ways is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Text,
    /// Our own times have a shorter way than text.
    Plain,
}

/// Writes one value.
struct Encoder<'a> {
    to: &'a mut Vec<u8>,
    target: Target<'a>,
    /// Whether it may be null, and if not, what to say.
    null: Result<(), Reason>,
    form: Form,
}

impl<'a> Encoder<'a> {
    #[inline]
    fn of_column(to: &'a mut Vec<u8>, column: &'a Column) -> Self {
        Self::new(to, &column.data_type, if column.nullable { Ok(()) } else { Err(NULL) })
    }

    #[inline]
    fn new(to: &'a mut Vec<u8>, data_type: &'a ColumnType, null: Result<(), Reason>) -> Self {
        Self { to, target: Target::Value(data_type), null, form: Form::Text }
    }

    #[inline]
    fn value(mut self, value: Value<'_>) -> Result<(), Misfit> {
        let Target::Value(data_type) = self.target else { return Err(Misfit::of(NO_OBJECT)) };
        self.present();
        put(self.to, data_type, value).map_err(Misfit::of)
    }

    fn float(self, number: f64) -> Result<(), Misfit> {
        if number.is_finite() { self.value(Value::Float(number)) } else { self.absent() }
    }

    fn absent(self) -> Result<(), Misfit> {
        self.null.map_err(Misfit::of)?;
        self.to.push(ABSENT);
        Ok(())
    }

    /// If the column may be null, a value follows.
    #[inline]
    fn present(&mut self) {
        if self.null.is_ok() {
            self.to.push(PRESENT);
        }
    }

    #[inline]
    fn fields(mut self) -> Result<Fields<'a>, Misfit> {
        let columns = match self.target {
            Target::Row(columns) => columns,
            Target::Value(ColumnType::Struct(columns)) => columns,
            Target::Value(_) => return Err(self.misfit(Value::Object)),
        };
        self.present();
        Ok(Fields::new(self.to, columns))
    }

    fn elements(mut self) -> Result<Elements<'a>, Misfit> {
        match self.target {
            Target::Value(ColumnType::List { element, nullable }) => {
                self.present();
                Ok(Elements::new(self.to, element, *nullable))
            }
            _ => Err(self.misfit(Value::List)),
        }
    }

    fn misfit(self, value: Value<'_>) -> Misfit {
        match self.value(value) {
            Err(misfit) => misfit,
            Ok(()) => unreachable!("a list or a struct is no single value"),
        }
    }
}

#[inline]
fn put(to: &mut Vec<u8>, data_type: &ColumnType, value: Value<'_>) -> Result<(), Reason> {
    match data_type {
        ColumnType::Bool => to.push(u8::from(value::boolean(value)?)),
        ColumnType::Int8 => to.extend_from_slice(&value::integer::<i8>(value)?.to_le_bytes()),
        ColumnType::Int16 => to.extend_from_slice(&value::integer::<i16>(value)?.to_le_bytes()),
        ColumnType::Int32 => to.extend_from_slice(&value::integer::<i32>(value)?.to_le_bytes()),
        ColumnType::Int64 => to.extend_from_slice(&value::integer::<i64>(value)?.to_le_bytes()),
        ColumnType::Float64 => to.extend_from_slice(&value::float(value)?.to_le_bytes()),
        ColumnType::Decimal { precision, scale } => {
            to.extend_from_slice(&value::decimal(value, *precision, *scale)?.to_le_bytes())
        }
        ColumnType::Timestamp => to.extend_from_slice(&value::timestamp(value)?.to_le_bytes()),
        ColumnType::Date => to.extend_from_slice(&value::day(value)?.to_le_bytes()),
        ColumnType::Text => put_bytes(to, value::text(value)?.as_bytes())?,
        ColumnType::Binary => put_bytes(to, value::bytes(value)?)?,
        ColumnType::List { .. } => return Err("is no list"),
        ColumnType::Struct(_) => return Err(NO_OBJECT),
    }
    Ok(())
}

#[inline]
fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Reason> {
    let length = u32::try_from(bytes.len()).map_err(|_| "is longer than 4 GiB")?;
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(bytes);
    Ok(())
}

macro_rules! whole {
    ($($method:ident $t:ty;)+) => {$(
        #[inline]
        fn $method(self, number: $t) -> Result<(), Misfit> {
            self.value(Value::Whole(number.into()))
        }
    )+};
}

impl<'a> Serializer for Encoder<'a> {
    type Ok = ();
    type Error = Misfit;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Impossible<(), Misfit>;
    type SerializeMap = Fields<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Impossible<(), Misfit>;

    whole! {
        serialize_i8 i8;
        serialize_i16 i16;
        serialize_i32 i32;
        serialize_i64 i64;
        serialize_i128 i128;
        serialize_u8 u8;
        serialize_u16 u16;
        serialize_u32 u32;
        serialize_u64 u64;
    }

    fn serialize_u128(self, number: u128) -> Result<(), Misfit> {
        let number = i128::try_from(number).map_err(|_| Misfit::of(OUT_OF_RANGE))?;
        self.serialize_i128(number)
    }

    fn serialize_bool(self, value: bool) -> Result<(), Misfit> {
        self.value(Value::Bool(value))
    }

    /// By its shortest digits, as in JSON.
    fn serialize_f32(self, number: f32) -> Result<(), Misfit> {
        self.float(number.to_string().parse().unwrap_or(number.into()))
    }

    fn serialize_f64(self, number: f64) -> Result<(), Misfit> {
        self.float(number)
    }

    fn serialize_char(self, value: char) -> Result<(), Misfit> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, text: &str) -> Result<(), Misfit> {
        self.value(Value::Text(text))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Misfit> {
        self.value(Value::Bytes(bytes))
    }

    fn serialize_none(self) -> Result<(), Misfit> {
        self.absent()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Misfit> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Misfit> {
        self.absent()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Misfit> {
        self.absent()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Misfit> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Misfit> {
        let is_time = name == EventTime::NAME && matches!(self.target, Target::Value(ColumnType::Timestamp));
        value.serialize(Self { form: if is_time { Form::Plain } else { self.form }, ..self })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Misfit> {
        Err(self.misfit(Value::Object))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, Misfit> {
        self.elements()
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Misfit> {
        match self.target {
            Target::Value(ColumnType::List { .. }) => self.elements().map(Parts::Elements),
            _ => self.fields().map(Parts::Fields),
        }
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Parts<'a>, Misfit> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Misfit> {
        Err(self.misfit(Value::Object))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields<'a>, Misfit> {
        self.fields()
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, Misfit> {
        self.fields()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Misfit> {
        Err(self.misfit(Value::Object))
    }

    fn is_human_readable(&self) -> bool {
        self.form == Form::Text
    }
}
