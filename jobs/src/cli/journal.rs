//! `journal`: what a pipeline has written down.

use super::context::Context;
use super::out::{Out, grouped, time};
use crate::job::TierOf;
use crate::{Error, Result, run};
use distributary_runtime::binding::{Binding, Feed};
use distributary_runtime::bus::{Bus, Offset};
use distributary_runtime::engine;
use distributary_runtime::journal::{Entry, Fact, Incarnation};
use distributary_runtime::layout::{Layout, Output};
use distributary_runtime::plan::Plan;
use distributary_runtime::start;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Look into the journal of a job.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    Show(Show),
}

impl Command {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        match self {
            Self::Show(args) => args.run(context),
        }
    }
}

/// Print the newest entries, oldest first: starts, epochs with what they bind, checkpoints.
#[derive(clap::Args)]
pub(super) struct Show {
    /// The job.
    job: String,
    /// So many entries; 0: all.
    #[arg(short, value_name = "N", default_value_t = 20)]
    n: usize,
    /// Leave out epochs that bind no records.
    #[arg(long)]
    no_idle: bool,
    /// A JSON document for each entry, on a line.
    #[arg(long)]
    json: bool,
}

/// An entry, and whether it counts: what a dead incarnation wrote does not.
struct Shown {
    at: Offset,
    entry: Entry,
    counts: bool,
}

impl Show {
    fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let job = context.pipeline(&self.job)?;
        let bus = context.bus()?;
        let plan = engine::plan(&run::pipeline(job))?;
        let mut entries = entries(&*bus, job)?;
        if self.no_idle {
            entries.retain(|shown| !matches!(&shown.entry.fact, Fact::Binding(b) if b.ranges.is_empty() && !b.is_checkpoint()));
        }
        let skip = if self.n == 0 { 0 } else { entries.len().saturating_sub(self.n) };
        let mut out = Out::new();
        for shown in &entries[skip..] {
            if self.json {
                out.json(&document(shown, &plan))?;
            } else {
                let Shown { at, entry, counts } = shown;
                let ignored = if *counts { "" } else { "  (does not count: a newer start came before it)" };
                out.line(format_args!("@{at:<6}  {}  {}{ignored}", short(entry.incarnation), said(&entry.fact, &plan)))?;
            }
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn entries(bus: &dyn Bus, job: TierOf) -> Result<Vec<Shown>> {
    let never =
        || Error::refused(format!("{job} has no journal: it was never started"), format!("start it: `run {}`", job.short()));
    let topic = bus.topic(&start::journal_topic(&job.to_string()))?.ok_or_else(never)?;
    let mut writer = None;
    let mut entries = Vec::new();
    for (at, bytes) in bus.read_journal(topic.id, Offset(0))?.entries {
        let entry = Entry::decode(at, &bytes)?;
        if matches!(entry.fact, Fact::Start(_)) {
            writer = Some(entry.incarnation);
        }
        let counts = *writer.get_or_insert(entry.incarnation) == entry.incarnation;
        entries.push(Shown { at, entry, counts });
    }
    Ok(entries)
}

/// The first digits tell incarnations apart.
fn short(incarnation: Incarnation) -> String {
    format!("{:032x}", incarnation.0)[..6].to_string()
}

fn name(feed: Feed, plan: &Plan) -> String {
    let topic = plan.sources().nth(usize::from(feed.source)).map_or("?", |s| s.topic.as_str());
    format!("{topic}[{}]", feed.partition)
}

fn said(fact: &Fact, plan: &Plan) -> String {
    match fact {
        Fact::Start(start) => {
            let gaps: String = start
                .accepted_gaps
                .iter()
                .map(|(feed, from, to)| format!(", accepts the gap {}..{} of {}", from, to, name(*feed, plan)))
                .collect();
            format!("start       generation {} at {}{gaps}", start.generation, time(start.at))
        }
        Fact::Binding(binding) => {
            let ranges: String =
                binding.ranges.iter().map(|r| format!("  {} {}..{}", name(r.feed, plan), r.from, r.upto)).collect();
            let records = binding.ranges.iter().map(|r| r.records).sum();
            let save = if binding.is_checkpoint() { ", saves the state" } else { "" };
            let lifts = if binding.lifts.is_empty() { String::new() } else { format!(", lifts {}", binding.lifts.len()) };
            let at = time(binding.closed_at);
            format!("epoch {:<6}closed {at}, {} records{save}{lifts}{ranges}", binding.epoch, grouped(records))
        }
        Fact::Checkpoint(c) => format!("checkpoint  epoch {}, {}", c.epoch, c.manifest),
        Fact::Retire { epoch } => format!("retire      checkpoint of epoch {epoch}"),
    }
}

fn document(shown: &Shown, plan: &Plan) -> Value {
    let fact = match &shown.entry.fact {
        Fact::Start(s) => json!({ "start": {
            "generation": s.generation, "at_ms": s.at, "layout": layout(&s.layout),
            "positions": s.positions.iter().map(|(f, at)| json!([name(*f, plan), at])).collect::<Vec<_>>(),
            "accepted_gaps": s.accepted_gaps.iter().map(|(f, from, to)| json!([name(*f, plan), from, to])).collect::<Vec<_>>(),
        }}),
        Fact::Binding(b) => json!({ "epoch": binding(b, plan) }),
        Fact::Checkpoint(c) => json!({ "checkpoint": {
            "epoch": c.epoch, "generation": c.generation, "manifest": c.manifest,
            "checksum": format!("{:016x}", c.checksum), "layout": layout(&c.layout),
        }}),
        Fact::Retire { epoch } => json!({ "retire": { "epoch": epoch } }),
    };
    let incarnation = format!("{:032x}", shown.entry.incarnation.0);
    json!({ "offset": shown.at, "incarnation": incarnation, "counts": shown.counts, "fact": fact })
}

fn layout(layout: &Layout) -> Value {
    let output = |o: &Output| json!({ "topic": o.name, "id": o.id.to_string(), "partitions": o.partitions });
    json!({
        "fingerprint": format!("{:032x}", layout.fingerprint), "lanes": layout.lanes,
        "outputs": layout.outputs.iter().map(output).collect::<Vec<_>>(),
    })
}

fn binding(b: &Binding, plan: &Plan) -> Value {
    let ranges = b.ranges.iter().map(|r| {
        json!({ "partition": name(r.feed, plan), "from": r.from, "upto": r.upto, "records": r.records,
            "max_time_ms": super::standing::known(r.max_time) })
    });
    json!({
        "epoch": b.epoch, "closed_at_ms": b.closed_at, "watermark_ms": super::standing::known(b.watermark), "checkpoint": b.is_checkpoint(),
        "ranges": ranges.collect::<Vec<_>>(),
        "lifts": b.lifts.iter().map(|l| json!([name(l.feed, plan), l.to])).collect::<Vec<_>>(),
    })
}
