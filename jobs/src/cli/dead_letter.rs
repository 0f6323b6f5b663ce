//! `dead-letter`: what a job could not use, why, and the original bytes.

use super::context::Context;
use super::out::{Out, grouped, time};
use super::record::{self, Next, Span, shown};
use crate::job::TierOf;
use crate::{Error, Result};
use distributary_runtime::bus::{Bus, Offset, Record, Topic};
use distributary_runtime::dead_letters::header as names;
use distributary_runtime::time::WallTime;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Look at the records a job has set aside.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    List(List),
    Show(Show),
}

impl Command {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        match self {
            Self::List(args) => args.run(context),
            Self::Show(args) => args.run(context),
        }
    }
}

/// List dead letters: where each came from, which operator set it aside, and why.
#[derive(clap::Args)]
pub(super) struct List {
    /// The job.
    job: String,
    /// So many, the newest of each partition; 0: all.
    #[arg(short, value_name = "N", default_value_t = 20)]
    n: u64,
    /// Count all of them by cause instead.
    #[arg(long)]
    by_cause: bool,
    /// A JSON document on each line (with `--by-cause`, one in all).
    #[arg(long)]
    json: bool,
}

/// A dead letter without its bytes.
#[derive(Serialize)]
struct Letter {
    /// `partition@offset` in the topic of dead letters.
    position: String,
    /// `topic[partition]@offset` of the original; empty when it was made by an operator.
    source: String,
    operator: String,
    cause: String,
    timestamp: String,
}

impl Letter {
    fn of(partition: u32, record: &Record) -> Self {
        let text = |name| record.header(name).unwrap_or_default().to_string();
        let source = match (record.header(names::TOPIC), record.header(names::PARTITION), record.header(names::OFFSET)) {
            (Some(topic), Some(partition), Some(offset)) => format!("{topic}[{partition}]@{offset}"),
            _ => String::new(),
        };
        let original = record.header(names::TIMESTAMP).and_then(|ms| ms.parse().ok()).map_or(record.timestamp, WallTime);
        let position = format!("{partition}@{}", record.offset);
        Self { position, source, operator: text(names::OPERATOR), cause: text(names::CAUSE), timestamp: time(original) }
    }
}

impl List {
    fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let job = context.pipeline(&self.job)?;
        let bus = context.bus()?;
        let mut out = Out::new();
        if self.by_cause {
            let causes = by_cause(&*bus, job)?;
            if self.json {
                out.json(&causes)?;
            } else {
                let rows: Vec<_> = causes.into_iter().map(|(cause, n)| [grouped(n), cause]).collect();
                out.table(["LETTERS", "CAUSE"], &rows)?;
            }
            out.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
        let topic = topic(&*bus, job)?;
        let mut spans = record::whole(&*bus, topic.id)?;
        if self.n > 0 {
            for span in &mut spans {
                let newest = span.upto.unwrap_or(span.from).0.saturating_sub(self.n);
                span.from = span.from.max(Offset(newest));
            }
        }
        let mut letters = Vec::new();
        let each = |partition, record: Record| {
            letters.push(Letter::of(partition, &record));
            Ok(Next::More)
        };
        record::read(&*bus, topic.id, &spans, each, || Ok(()))?;
        if self.json {
            letters.iter().try_for_each(|letter| out.json(letter))?;
        } else {
            let rows: Vec<_> = letters.into_iter().map(|l| [l.position, l.source, l.operator, l.cause]).collect();
            out.table(["POSITION", "SOURCE", "OPERATOR", "CAUSE"], &rows)?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Show one dead letter with the original key and value.
#[derive(clap::Args)]
pub(super) struct Show {
    /// The job.
    job: String,
    /// Its position, as `dead-letter list` shows it: `PARTITION@OFFSET`.
    position: String,
    /// Print the bytes of the original value and nothing else.
    #[arg(long)]
    raw: bool,
    /// One JSON document.
    #[arg(long, conflicts_with = "raw")]
    json: bool,
}

impl Show {
    fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let job = context.pipeline(&self.job)?;
        let bus = context.bus()?;
        let topic = topic(&*bus, job)?;
        let position = self.position.split_once('@').and_then(|(p, o)| Some((p.parse().ok()?, Offset(o.parse().ok()?))));
        let Some((partition, offset)) = position else {
            let what = format!("`{}` is no position", self.position);
            return Err(Error::refused(what, "write PARTITION@OFFSET, as `dead-letter list` shows it"));
        };
        let there = record::whole(&*bus, topic.id)?.into_iter().find(|span| span.partition == partition);
        let mut found = None;
        if there.is_some_and(|span| offset >= span.from && Some(offset) < span.upto) {
            let span = Span { partition, from: offset, upto: Some(offset.next()) };
            let each = |_, record| {
                found = Some(record);
                Ok(Next::Enough)
            };
            record::read(&*bus, topic.id, &[span], each, || Ok(()))?;
        }
        let Some(record) = found else {
            let what = format!("{job} has no dead letter at {}", self.position);
            return Err(Error::refused(what, "see `dead-letter list`"));
        };
        let mut out = Out::new();
        if self.raw {
            out.bytes(record.value.as_deref().unwrap_or_default())?;
        } else if self.json {
            out.line(record::line(partition, &record))?;
        } else {
            let letter = Letter::of(partition, &record);
            let text = |bytes: &Option<bytes::Bytes>| bytes.as_deref().map_or("(none)".into(), shown);
            for (name, value) in [
                ("cause", letter.cause),
                ("operator", letter.operator),
                ("source", letter.source),
                ("timestamp", letter.timestamp),
                ("key", text(&record.key)),
                ("value", text(&record.value)),
            ] {
                out.line(format_args!("{name:<10} {value}"))?;
            }
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// How many dead letters there are of each cause. Numbers in a cause (lines, columns, sizes) do not make it another one.
pub(super) fn by_cause(bus: &dyn Bus, job: TierOf) -> Result<BTreeMap<String, u64>> {
    let topic = topic(bus, job)?;
    let mut causes = BTreeMap::new();
    let each = |_, record: Record| {
        *causes.entry(without_numbers(record.header(names::CAUSE).unwrap_or("?"))).or_default() += 1;
        Ok(Next::More)
    };
    record::read(bus, topic.id, &record::whole(bus, topic.id)?, each, || Ok(()))?;
    Ok(causes)
}

fn without_numbers(cause: &str) -> String {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    cause.split(' ').map(|word| if is_number(word) { "N" } else { word }).collect::<Vec<_>>().join(" ")
}

fn topic(bus: &dyn Bus, job: TierOf) -> Result<Topic> {
    let never = || Error::refused(format!("{job} was never started"), format!("start it: `run {}`", job.short()));
    bus.topic(&format!("{job}.dead-letters"))?.ok_or_else(never)
}

#[cfg(test)]
mod tests {
    use super::without_numbers;

    #[test]
    fn places_in_a_record_do_not_make_another_cause() {
        let cause = |column| without_numbers(&format!("undecodable: expected integer at line 1 column {column}"));
        assert_eq!(cause(8), cause(1234));
        assert_eq!(cause(8), "undecodable: expected integer at line N column N");
    }
}
