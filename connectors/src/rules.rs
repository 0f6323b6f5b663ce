//! What every bus asks of names, partitions and records, so that a topic may move from one to another.

use distributary_runtime::bus::{BusError, NewRecord, TopicForm};

/// The largest value, the largest key, and the most bytes of headers, each by itself: a dead letter, which is its original
/// with other headers, then always fits. A transaction holds few pages, and one record never blows a reader's budget.
pub(crate) const RECORD_BYTES_MAX: u64 = 1 << 20;

/// More partitions than this in one topic are a typing error: every consumer polls each of them.
const PARTITIONS_MAX: u32 = 4_096;

/// Kafka's own bound.
const NAME_MAX: usize = 249;

pub(crate) fn check_name(name: &str) -> Result<(), BusError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let problem = if name.is_empty() || name.len() > NAME_MAX {
        format!("it must have 1 to {NAME_MAX} characters")
    } else if matches!(name, "." | "..") {
        "`.` and `..` are not allowed".to_string()
    } else if let Some(c) = name.chars().find(|c| !allowed(*c)) {
        format!("{c:?} is not allowed, only ASCII letters, digits, `.`, `_` and `-`")
    } else {
        return Ok(());
    };
    Err(BusError::Invalid(format!("topic name {name:?}: {problem}")))
}

pub(crate) fn check_partitions(name: &str, partitions: u32) -> Result<(), BusError> {
    if (1..=PARTITIONS_MAX).contains(&partitions) {
        return Ok(());
    }
    Err(BusError::Invalid(format!("topic `{name}`: {partitions} partitions; a topic has 1 to {PARTITIONS_MAX}")))
}

/// The number of partitions only grows.
pub(crate) fn check_growth(name: &str, present: u32, partitions: u32) -> Result<(), BusError> {
    if partitions >= present {
        return Ok(());
    }
    Err(BusError::Invalid(format!(
        "topic `{name}` has {present} partitions already; their number never falls, because keys would move"
    )))
}

pub(crate) fn check_record(topic: &str, form: TopicForm, record: &NewRecord) -> Result<(), BusError> {
    let value = record.value.as_ref().map_or(0, |v| v.len());
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let key = record.key.as_ref().map_or(0, |k| k.len());
    let bytes = value.max(key).max(headers) as u64;
    if bytes > RECORD_BYTES_MAX {
        return Err(BusError::TooLarge { topic: topic.to_string(), bytes, max: RECORD_BYTES_MAX });
    }
    if form == TopicForm::Upsert && record.key.is_none() {
        return Err(BusError::Invalid(format!("a record for the upsert topic `{topic}` has no key")));
    }
    Ok(())
}
