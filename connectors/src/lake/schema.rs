//! From a table's columns to the schema, the partitions and the properties of the Delta table.

use delta_kernel::KernelResult;
use delta_kernel::expressions::ColumnName;
use delta_kernel::schema::{ArrayType, DataType, SchemaRef, StructField, StructType};
use distributary_runtime::table::{Column, ColumnType, Role};
use std::sync::Arc;

/// Day of the event time.
pub(super) const EVENT_DATE: &str = "event_date";
/// Hour of that day, 0 to 23.
pub(super) const EVENT_HOUR: &str = "event_hour";
/// The folders, from the outside in.
pub(super) const PARTITION_COLUMNS: [&str; 2] = [EVENT_DATE, EVENT_HOUR];
/// Where a row comes from; the name begins with `_`, for it is nobody's business but ours and an auditor's.
pub(super) const ORIGIN: &str = "_origin";

/// The property that says which columns have statistics.
pub(super) const STATISTICS: &str = "delta.dataSkippingStatsColumns";

/// Columns with statistics in the log. Delta's own default: the log is read as a whole by everybody who opens the table.
const STATISTICS_MAX: usize = 32;
const COMMENT: &str = "comment";

/// What readers see.
pub(super) fn of_table(columns: &[Column]) -> KernelResult<SchemaRef> {
    let ours = [
        StructField::not_null(ORIGIN, origin()?),
        partition(EVENT_DATE, DataType::DATE, "day of the event time, UTC"),
        partition(EVENT_HOUR, DataType::INTEGER, "hour of the event time, UTC"),
    ];
    let fields = fields(columns)?;
    Ok(Arc::new(StructType::try_new(fields.into_iter().chain(ours))?))
}

/// What stands in a data file: all but the partitions, which are folders.
pub(super) fn of_file(table: &StructType) -> KernelResult<SchemaRef> {
    let inside = table.fields().filter(|field| !PARTITION_COLUMNS.contains(&field.name().as_str()));
    Ok(Arc::new(StructType::try_new(inside.cloned())?))
}

/// What the table is created with, and must have.
///
/// `delta.setTransactionRetentionDuration` is left out with intent: without it a lane's `txn` never expires.
pub(super) fn properties(columns: &[Column], event_time: &str) -> Vec<(String, String)> {
    let columns: Vec<_> = statistics(columns, event_time).iter().map(ToString::to_string).collect();
    vec![
        (STATISTICS.into(), columns.join(",")),
        // Where the markers of the lanes are kept.
        ("delta.feature.domainMetadata".into(), "supported".into()),
    ]
}

/// The columns whose least and greatest value stand in the log: numbers, days and times that name no subject.
///
/// No text and no bytes: they may name a person although nobody said so. The event time is the first, for it is what readers skip by.
pub(super) fn statistics(columns: &[Column], event_time: &str) -> Vec<ColumnName> {
    let mut found = Vec::new();
    collect(columns, &[], &mut found);
    found.sort_by_key(|path| path.join(".") != event_time);
    found.into_iter().take(STATISTICS_MAX).map(|path| ColumnName::new(path.iter().map(String::as_str))).collect()
}

fn collect(columns: &[Column], path: &[String], found: &mut Vec<Vec<String>>) {
    for column in columns.iter().filter(|column| column.role == Role::Plain) {
        let path = [path, std::slice::from_ref(&column.name)].concat();
        match &column.data_type {
            ColumnType::Struct(columns) => collect(columns, &path, found),
            ColumnType::Text | ColumnType::Binary | ColumnType::Bool | ColumnType::List { .. } => {}
            _ => found.push(path),
        }
    }
}

fn fields(columns: &[Column]) -> KernelResult<Vec<StructField>> {
    let field = |column: &Column| {
        let field = StructField::new(&column.name, data_type(&column.data_type)?, column.nullable);
        Ok(match &column.comment {
            Some(comment) => field.add_metadata([(COMMENT, comment.as_str())]),
            None => field,
        })
    };
    columns.iter().map(field).collect()
}

fn data_type(of: &ColumnType) -> KernelResult<DataType> {
    Ok(match of {
        ColumnType::Bool => DataType::BOOLEAN,
        ColumnType::Int8 => DataType::BYTE,
        ColumnType::Int16 => DataType::SHORT,
        ColumnType::Int32 => DataType::INTEGER,
        ColumnType::Int64 => DataType::LONG,
        ColumnType::Float64 => DataType::DOUBLE,
        ColumnType::Decimal { precision, scale } => DataType::decimal(*precision, *scale)?,
        ColumnType::Text => DataType::STRING,
        ColumnType::Binary => DataType::BINARY,
        ColumnType::Timestamp => DataType::TIMESTAMP,
        ColumnType::Date => DataType::DATE,
        ColumnType::List { element, nullable } => ArrayType::new(data_type(element)?, *nullable).into(),
        ColumnType::Struct(columns) => DataType::try_struct_type(fields(columns)?)?,
    })
}

/// The position of the record that a row comes from, as far as it comes from one, and what wrote it.
fn origin() -> KernelResult<DataType> {
    DataType::try_struct_type([
        StructField::nullable("source", DataType::INTEGER),
        StructField::nullable("partition", DataType::LONG),
        StructField::nullable("offset", DataType::LONG),
        StructField::nullable("sub", DataType::LONG),
        StructField::nullable("epoch", DataType::LONG),
        StructField::nullable("generation", DataType::LONG),
    ])
}

fn partition(name: &str, data_type: DataType, comment: &str) -> StructField {
    StructField::nullable(name, data_type).add_metadata([(COMMENT, comment)])
}
