//! Each result as a line of JSON the moment it is there, and all of them as a table at the end.

use serde_json::{Map, Value};

/// Results of one bench.
pub(crate) struct Table {
    bench: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose columns are fields of the results.
    pub(crate) fn new(bench: &'static str, columns: &[&'static str]) -> Self {
        Self { bench, columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Prints a result, an object, as a line of JSON and keeps its columns.
    pub(crate) fn add(&mut self, result: Value) {
        let Value::Object(fields) = result else { unreachable!("a result is an object") };
        self.rows.push(self.columns.iter().map(|name| fields.get(*name).map_or(String::new(), text)).collect());
        let mut line = Map::from_iter([("bench".to_string(), Value::from(self.bench))]);
        line.extend(fields.into_iter().map(|(name, value)| (name, round(value))));
        println!("{}", Value::Object(line));
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        let mut widths: Vec<usize> = self.columns.iter().map(|name| name.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.len());
            }
        }
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let cells: Vec<_> = cells.zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
            println!("{}", cells.join("  "));
        };
        println!();
        line(&mut self.columns.iter().copied());
        for row in &self.rows {
            line(&mut row.iter().map(String::as_str));
        }
    }
}

/// Three digits are enough of a measurement.
fn round(value: Value) -> Value {
    match value.as_f64().filter(|_| value.is_f64()) {
        Some(number) => number_text(number).parse().map_or(value, |n: f64| Value::from(n)),
        None => value,
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => match value.as_f64().filter(|_| value.is_f64()) {
            Some(number) => number_text(number),
            None => value.to_string(),
        },
    }
}

fn number_text(number: f64) -> String {
    let digits = match number.abs() {
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        n if n >= 1.0 => 2,
        _ => 3,
    };
    format!("{number:.digits$}")
}
