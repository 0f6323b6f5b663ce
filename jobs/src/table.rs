//! Rows of tables: their columns, told from the type of a result, and how a result becomes a row.

mod probe;

use crate::event::{Event, EventDescription};
use distributary_connectors::lake;
use distributary_runtime::table::{Column, ColumnType, Role};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a stream knows of its records beside their type.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About {
    /// The path of the field that says when it happened.
    pub(crate) time: Option<&'static str>,
    /// If they are events.
    pub(crate) event: Option<EventDescription>,
}

impl About {
    /// Events of a topic.
    pub(crate) fn event(event: EventDescription) -> Self {
        Self { time: Some(event.time), event: Some(event) }
    }

    /// Results of windows.
    pub(crate) const WINDOWS: Self = Self { time: Some("window.start"), event: None };
}

/// What a job says of a column that its type does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Decimal { precision: u8, scale: u8 },
    Comment(String),
}

/// How results become rows of a table.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) event_time: String,
    pub(crate) columns: Vec<Column>,
}

impl Rows {
    /// The rows that results of type `T` become.
    ///
    /// # Errors
    /// What keeps them from being rows.
    pub(crate) fn of<T: Serialize + DeserializeOwned>(
        name: &str,
        about: About,
        time: Option<&str>,
        said: &[(String, Said)],
    ) -> Result<Self, String> {
        let mut columns = probe::columns::<T>()?;
        let event_time = match time.or(about.time) {
            Some(time) => time.to_string(),
            None => only_time(&columns)?,
        };
        mark(&mut columns, "", &event_time, about.event);
        for (path, said) in said {
            let column = find(&mut columns, path).ok_or_else(|| format!("there is no column `{path}`"))?;
            match said {
                Said::Decimal { precision, scale } => {
                    column.data_type = ColumnType::Decimal { precision: *precision, scale: *scale };
                }
                Said::Comment(comment) => column.comment = Some(comment.clone()),
            }
        }
        lake::check_table(name, &event_time, &columns)?;
        Ok(Self { event_time, columns })
    }

    /// The rows of an archive: the record of the bus, and the fields of the event in it, which are null when there is none.
    ///
    /// # Errors
    /// What keeps the events from being rows.
    pub(crate) fn archive<E: Event>() -> Result<Self, String> {
        let mut columns = probe::columns::<E>()?;
        let about = E::describe();
        mark(&mut columns, "", about.time, Some(about));
        columns.iter_mut().for_each(|column| column.nullable = true);
        columns.insert(0, lake::record_column());
        lake::check_table(&lake::archive_of(E::TOPIC), lake::ARCHIVED_AT, &columns)?;
        Ok(Self { event_time: lake::ARCHIVED_AT.to_string(), columns })
    }

    /// The row of a result.
    pub(crate) fn encode<T: Serialize>(&self, result: &T) -> Result<Vec<u8>, String> {
        lake::encode_row(&self.columns, result).map_err(|misfit| format!("no row of the table: {misfit}"))
    }
}

/// The column that says when a result happened, if there is only one that can.
fn only_time(columns: &[Column]) -> Result<String, String> {
    let times = columns.iter().filter(|column| column.data_type == ColumnType::Timestamp && !column.nullable);
    let times: Vec<_> = times.map(|column| column.name.as_str()).collect();
    match times.as_slice() {
        [one] => Ok((*one).to_string()),
        [] => Err("no column says when a row happened: give its rows a `Timestamp`".to_string()),
        several => Err(format!("which of {} says when a row happened? `.time(\"{}\")`", several.join(", "), several[0])),
    }
}

/// Whom a column names. Of an event it is known; of other results it is not, so that nothing but their time may stand in the log.
fn mark(columns: &mut [Column], within: &str, time: &str, event: Option<EventDescription>) {
    for column in columns {
        let path = format!("{within}{}", column.name);
        if path == time {
            // A type of somebody else's for a time is text in JSON.
            if event.is_some() && column.data_type == ColumnType::Text {
                column.data_type = ColumnType::Timestamp;
            }
        } else if let (Some(rest), ColumnType::Struct(fields)) = (time.strip_prefix(&path), &mut column.data_type)
            && rest.starts_with('.')
        {
            mark(fields, &format!("{path}."), time, event);
        } else if event.is_none_or(|event| event.subject == Some(path.as_str())) {
            column.role = Role::Subject;
        }
        if let Some(event) = event {
            let comment = event.comments.iter().find(|(name, _)| *name == path);
            column.comment = comment.map(|(_, comment)| (*comment).to_string());
        }
    }
}

fn find<'a>(columns: &'a mut [Column], path: &str) -> Option<&'a mut Column> {
    let (name, within) = path.split_once('.').map_or((path, None), |(name, within)| (name, Some(within)));
    let column = columns.iter_mut().find(|column| column.name == name)?;
    let Some(within) = within else { return Some(column) };
    match &mut column.data_type {
        ColumnType::Struct(fields) => find(fields, within),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
