//! Which columns name subjects, and what stands in them.

use delta_kernel::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch, StructArray};
use delta_kernel::arrow::datatypes::{DataType, Decimal128Type, FieldRef, Fields, Int8Type, Int16Type, Int32Type, Int64Type};
use delta_kernel::arrow::error::ArrowError;
use distributary_runtime::table::{Column, ColumnType, Role};
use std::fmt::{Display, Write as _};
use std::sync::Arc;

/// Behind a name: the elements of a list.
const ELEMENTS: &str = "[]";

/// The paths of those that count.
pub(super) fn counted(columns: &[Column]) -> Vec<String> {
    let mut found = Vec::new();
    columns.iter().for_each(|column| count(&column.data_type, column.name.clone(), column.role, &mut found));
    found
}

fn count(data_type: &ColumnType, path: String, role: Role, found: &mut Vec<String>) {
    use ColumnType::{Decimal, Int8, Int16, Int32, Int64, List, Struct, Text};
    match data_type {
        Struct(columns) => columns.iter().for_each(|column| {
            let role = if role == Role::Subject { role } else { column.role };
            count(&column.data_type, format!("{path}.{}", column.name), role, found);
        }),
        List { element, .. } => count(element, path + ELEMENTS, role, found),
        Text | Int8 | Int16 | Int32 | Int64 | Decimal { scale: 0, .. } if role == Role::Subject => found.push(path),
        _ => {}
    }
}

/// The paths of all columns of a file that could count: for one that does not say which do.
pub(super) fn possible(fields: &Fields) -> Vec<String> {
    let mut found = Vec::new();
    // What begins with `_` is not the job's.
    fields.iter().filter(|field| !field.name().starts_with('_')).for_each(|field| walk(field, field.name().clone(), &mut found));
    found
}

fn walk(field: &FieldRef, path: String, found: &mut Vec<String>) {
    match field.data_type() {
        DataType::Struct(fields) => {
            fields.iter().for_each(|field| walk(field, format!("{path}.{}", field.name()), found));
        }
        DataType::List(element) => walk(element, path + ELEMENTS, found),
        DataType::Utf8 | DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Decimal128(_, 0) => {
            found.push(path);
        }
        _ => {}
    }
}

/// Calls `see` with the row and the canonical text of every value of a column that is not null. Rows that are older than the column have none.
///
/// # Errors
/// The column is neither text nor a whole number.
pub(in crate::lake) fn each(rows: &RecordBatch, path: &str, mut see: impl FnMut(usize, &str)) -> Result<(), ArrowError> {
    let other = || ArrowError::SchemaError(format!("`{path}` is neither text nor a whole number, or not where it should be"));
    let mut column: ArrayRef = Arc::new(StructArray::from(rows.clone()));
    // Elements of the column, and the rows they stand in.
    let mut places: Vec<(usize, usize)> = (0..rows.num_rows()).map(|row| (row, row)).collect();
    for part in path.split('.') {
        let name = part.trim_end_matches(ELEMENTS);
        let Some(inner) = column.as_struct_opt().ok_or_else(other)?.column_by_name(name).cloned() else { return Ok(()) };
        places.retain(|(at, _)| inner.is_valid(*at));
        column = inner;
        for _ in 0..(part.len() - name.len()) / ELEMENTS.len() {
            let list = column.as_list_opt::<i32>().ok_or_else(other)?;
            let inner = list.values().clone();
            let elements = |at: usize| list.value_offsets()[at] as usize..list.value_offsets()[at + 1] as usize;
            places = places.iter().flat_map(|(at, row)| elements(*at).map(move |at| (at, *row))).collect();
            places.retain(|(at, _)| inner.is_valid(*at));
            column = inner;
        }
    }
    match column.data_type() {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            places.iter().for_each(|(at, row)| see(*row, texts.value(*at)));
        }
        DataType::Int8 => numbers::<Int8Type>(&column, &places, see),
        DataType::Int16 => numbers::<Int16Type>(&column, &places, see),
        DataType::Int32 => numbers::<Int32Type>(&column, &places, see),
        DataType::Int64 => numbers::<Int64Type>(&column, &places, see),
        DataType::Decimal128(_, 0) => numbers::<Decimal128Type>(&column, &places, see),
        _ => return Err(other()),
    }
    Ok(())
}

fn numbers<T: ArrowPrimitiveType<Native: Display>>(
    column: &ArrayRef,
    places: &[(usize, usize)],
    mut see: impl FnMut(usize, &str),
) {
    let (numbers, mut text) = (column.as_primitive::<T>(), String::new());
    for (at, row) in places {
        text.clear();
        // Writing to a string does not fail.
        let _ = write!(text, "{}", numbers.value(*at));
        see(*row, &text);
    }
}
