//! What commands print: lines on standard output, tables, and numbers people can read.

use crate::{Error, Result, Timestamp};
use distributary_runtime::time::WallTime;
use serde::Serialize;
use std::fmt::{Display, Write as _};
use std::io::{BufWriter, StdoutLock, Write};

/// Standard output, buffered; flushed when it goes, or when somebody may wait for it.
pub(super) struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    pub(super) fn new() -> Self {
        Self(BufWriter::new(std::io::stdout().lock()))
    }

    pub(super) fn line(&mut self, text: impl Display) -> Result<()> {
        writeln!(self.0, "{text}").map_err(failed)
    }

    /// One JSON document on a line.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.0, value).map_err(|e| failed(e.into()))?;
        self.line("")
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).map_err(failed)
    }

    /// For what writes lines by itself.
    pub(super) fn writer(&mut self) -> &mut impl Write {
        &mut self.0
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.0.flush().map_err(failed)
    }

    /// Columns under their headings; columns of numbers stand to the right.
    pub(super) fn table<const N: usize>(&mut self, headings: [&str; N], rows: &[[String; N]]) -> Result<()> {
        let is_number = |cell: &str| cell.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '-'));
        let columns: Vec<(usize, bool)> = (0..N)
            .map(|i| {
                let width = rows.iter().map(|row| row[i].chars().count()).chain([headings[i].len()]).max().unwrap_or(0);
                (width, !rows.is_empty() && rows.iter().all(|row| is_number(&row[i])))
            })
            .collect();
        let headings = headings.map(String::from);
        for row in std::iter::once(&headings).chain(rows) {
            let mut line = String::new();
            for (cell, (width, right)) in row.iter().zip(&columns) {
                // Writing to a string does not fail.
                let _ = if *right { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:width$}  ") };
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::Io { what: "writing to standard output".into(), source }
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A span of time in its largest sensible unit.
pub(super) fn span(ms: i64) -> String {
    match ms.max(0) {
        ms @ ..1_000 => format!("{ms} ms"),
        ms @ ..60_000 => format!("{:.1} s", ms as f64 / 1e3),
        ms @ ..3_600_000 => format!("{} min", ms / 60_000),
        ms @ ..86_400_000 => format!("{} h", ms / 3_600_000),
        ms => format!("{} d", ms / 86_400_000),
    }
}

/// Bytes in their largest sensible unit.
pub(super) fn bytes(n: u64) -> String {
    match n {
        ..1_024 => format!("{n} B"),
        1_024..1_048_576 => format!("{:.1} KiB", n as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", n as f64 / 1_073_741_824.0),
    }
}

/// A point in time as RFC 3339.
pub(super) fn time(at: WallTime) -> String {
    Timestamp::from_millis(at.0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [-5, 999, 1_500, 61_000, 7_200_000, 172_800_000].map(span),
            ["0 ms", "999 ms", "1.5 s", "1 min", "2 h", "2 d"]
        );
        assert_eq!([1, 1_536, 3 << 20].map(bytes), ["1 B", "1.5 KiB", "3.0 MiB"]);
    }
}
