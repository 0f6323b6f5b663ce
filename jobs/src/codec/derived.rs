//! From a record of a topic that another job writes.

use super::{Cause, decode};
use crate::event::Event;
use distributary_operators::{Keyed, Row, Written};
use distributary_runtime::bus::Record;
use distributary_runtime::time::EventTime;

/// Who wrote a record, by its headers; `None` when no pipeline did.
pub(crate) fn written(record: &Record) -> Option<Written> {
    let number = |name| record.header(name)?.parse().ok();
    let place = (record.header("generation")?.parse().ok()?, number("epoch")?, number("index")?);
    Some(Written { pipeline: record.header("pipeline")?.to_string(), place })
}

/// A row of an upsert topic, by the bytes of its key.
type RowOf<E> = Keyed<Vec<u8>, Row<E>>;

/// A record of an upsert topic. A deletion has no event time, and so claims nothing about that of others.
pub(crate) fn decode_row<E: Event>(record: &Record) -> Result<(RowOf<E>, EventTime), Cause> {
    let key = record.key.as_ref().ok_or(Cause::NoKey)?.to_vec();
    let (value, time) = match &record.value {
        Some(_) => decode(record).map(|(event, time)| (Some(event), time))?,
        None => (None, EventTime::MIN),
    };
    Ok((Keyed::new(key, Row { written: written(record), value }), time))
}
