//! `topic tail`

use crate::cli::context::{Context, find_topic};
use crate::cli::out::Out;
use crate::cli::record::{self, Next, Span};
use crate::{Error, Result, Timestamp};
use distributary_runtime::bus::{Bus, Offset, PartitionOffsets, Record, Topic};
use distributary_runtime::time::WallTime;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::str::FromStr;

/// So many records are shown when nobody says how many.
const NEWEST: u64 = 10;

/// Print records as JSON lines: the newest ten, or what `--from` says.
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The topic.
    name: String,
    /// Where to begin: `oldest`, `newest` (only what comes), a time (2026-01-31T12:00:00Z), or an offset.
    #[arg(long, value_name = "WHERE")]
    from: Option<From>,
    /// Go on with what comes, until stopped.
    #[arg(long, short)]
    follow: bool,
    /// At most so many records: the newest, or with `--from` the first from there.
    #[arg(short, value_name = "N")]
    n: Option<u64>,
    /// Only this partition.
    #[arg(long, short, value_name = "P")]
    partition: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Oldest,
    Newest,
    Time(WallTime),
    Offset(Offset),
}

impl FromStr for From {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<u64>(), text.parse::<Timestamp>()) {
            ("oldest", ..) => Ok(Self::Oldest),
            ("newest", ..) => Ok(Self::Newest),
            (_, Ok(offset), _) => Ok(Self::Offset(Offset(offset))),
            (_, _, Ok(time)) => Ok(Self::Time(WallTime(time.as_millis()))),
            _ => Err("expected `oldest`, `newest`, an offset, or a time such as 2026-01-31T12:00:00Z".into()),
        }
    }
}

impl Args {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let bus = context.bus()?;
        let topic = find_topic(&*bus, &self.name)?;
        let mut offsets = bus.offsets(topic.id)?;
        if let Some(partition) = self.partition {
            offsets.retain(|o| o.partition == partition);
            if offsets.is_empty() {
                let what = format!("topic `{}` has no partition {partition}", self.name);
                return Err(Error::refused(what, format!("it has {}, from 0 on", topic.spec.partitions)));
            }
        }
        match self.from {
            Some(from) => self.read_on(&*bus, &topic, from, &offsets)?,
            None => {
                self.read_newest(&*bus, &topic, &offsets)?;
                if self.follow {
                    self.read_on(&*bus, &topic, From::Newest, &offsets)?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The newest records of all partitions, in the order of their timestamps.
    fn read_newest(&self, bus: &dyn Bus, topic: &Topic, offsets: &[PartitionOffsets]) -> Result<()> {
        let n = self.n.unwrap_or(NEWEST);
        let from = |o: &PartitionOffsets| Offset(o.end.0.saturating_sub(n).max(o.log_start.0));
        let spans: Vec<_> = offsets.iter().map(|o| Span { partition: o.partition, from: from(o), upto: Some(o.end) }).collect();
        let mut newest: Vec<(u32, Record)> = Vec::new();
        let each = |partition, record| {
            newest.push((partition, record));
            Ok(Next::More)
        };
        record::read(bus, topic.id, &spans, each, || Ok(()))?;
        newest.sort_by_key(|(partition, record)| (record.timestamp, *partition, record.offset));
        let mut out = Out::new();
        let skip = newest.len().saturating_sub(usize::try_from(n).unwrap_or(usize::MAX));
        for (partition, record) in &newest[skip..] {
            out.line(record::line(*partition, record))?;
        }
        out.flush()
    }

    /// Records from somewhere on, as they are read.
    fn read_on(&self, bus: &dyn Bus, topic: &Topic, from: From, offsets: &[PartitionOffsets]) -> Result<()> {
        let at_time: BTreeMap<u32, Offset> = match from {
            From::Time(at) => bus.offsets_at(topic.id, at)?.into_iter().collect(),
            _ => BTreeMap::new(),
        };
        let mut spans = Vec::new();
        for o in offsets {
            let from = match from {
                From::Oldest => o.log_start,
                From::Newest => o.end,
                From::Time(_) => at_time.get(&o.partition).map_or(o.end, |at| *at.min(&o.end)),
                From::Offset(offset) => offset.clamp(o.log_start, o.end),
            };
            spans.push(Span { partition: o.partition, from, upto: if self.follow { None } else { Some(o.end) } });
        }
        let mut left = if self.from.is_some() { self.n.unwrap_or(u64::MAX) } else { u64::MAX };
        let out = RefCell::new(Out::new());
        let each = |partition, record: Record| {
            if left == 0 {
                return Ok(Next::Enough);
            }
            left -= 1;
            out.borrow_mut().line(record::line(partition, &record))?;
            Ok(if left == 0 { Next::Enough } else { Next::More })
        };
        record::read(bus, topic.id, &spans, each, || out.borrow_mut().flush())
    }
}
