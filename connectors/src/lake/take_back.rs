//! Rows that are taken back: which of them the run itself brings, and which files are to be written again without them.

use super::log::Hour;
use delta_kernel::arrow::array::{BooleanArray, RecordBatch};
use delta_kernel::arrow::datatypes::Schema;
use delta_kernel::arrow::error::ArrowError;
use delta_kernel::arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use std::collections::BTreeMap;

/// Compares rows by all their own columns: where a row comes from does not matter, because its contents name it.
pub(super) struct Contents {
    converter: RowConverter,
    columns: usize,
}

impl Contents {
    /// Of rows whose first columns are these.
    pub(super) fn new(columns: &Schema) -> Result<Self, ArrowError> {
        let fields = columns.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        Ok(Self { converter: RowConverter::new(fields.collect())?, columns: columns.fields().len() })
    }

    pub(super) fn of(&self, batch: &RecordBatch) -> Result<Rows, ArrowError> {
        self.converter.convert_columns(&batch.columns()[..self.columns])
    }
}

/// Rows that are to go, by hour, with the number of copies.
#[derive(Default)]
pub(super) struct Wanted(BTreeMap<Hour, BTreeMap<OwnedRow, u64>>);

impl Wanted {
    /// What is left to go when a run's own rows have gone first. Of those, `diffs` says how many copies of each come or go; behind this, how
    /// many come.
    pub(super) fn net(rows: &Rows, hours: &[Hour], diffs: &mut [i64]) -> Self {
        let mut wanted = Self::default();
        for (place, diff) in diffs.iter().enumerate().filter(|(_, diff)| **diff < 0) {
            *wanted.0.entry(hours[place]).or_default().entry(rows.row(place).owned()).or_default() += diff.unsigned_abs();
        }
        for (place, diff) in diffs.iter_mut().enumerate() {
            *diff = match u64::try_from(*diff) {
                Ok(copies) => copies.saturating_sub(wanted.take(hours[place], || rows.row(place).owned(), copies)).cast_signed(),
                Err(_) => 0,
            };
        }
        wanted
    }

    /// Takes up to `copies` of a row out of what is to go; how many.
    fn take(&mut self, hour: Hour, row: impl FnOnce() -> OwnedRow, copies: u64) -> u64 {
        let Some(of_hour) = self.0.get_mut(&hour) else { return 0 };
        let row = row();
        let Some(left) = of_hour.get_mut(&row) else { return 0 };
        let taken = copies.min(*left);
        *left -= taken;
        if *left == 0 {
            of_hour.remove(&row);
            if of_hour.is_empty() {
                self.0.remove(&hour);
            }
        }
        taken
    }

    /// The hours of what is to go.
    pub(super) fn hours(&self) -> Vec<Hour> {
        self.0.keys().copied().collect()
    }

    /// How many rows are to go.
    pub(super) fn len(&self) -> u64 {
        self.0.values().flat_map(BTreeMap::values).sum()
    }

    pub(super) fn has(&self, hour: Hour) -> bool {
        self.0.contains_key(&hour)
    }

    /// Which of some rows of a file stay when those that are to go have gone.
    pub(super) fn without(&mut self, hour: Hour, contents: &Contents, rows: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let rows = contents.of(rows)?;
        Ok(rows.iter().map(|row| Some(self.take(hour, || row.owned(), 1) == 0)).collect())
    }
}
