//! `plan`: what a job does, before anything runs.

use super::context::Context;
use super::out::Out;
use crate::job::TierOf;
use crate::{Result, run};
use distributary_runtime::engine;
use distributary_runtime::plan::{Node, NodeId, Plan, SinkRole};
use distributary_runtime::settings::Settings;
use serde::Serialize;
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Show the plan of a job: sources, operators, state, and every sink with what it promises.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The job.
    job: String,
    /// One JSON document for each pipeline.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    pipeline: &'a str,
    doc: &'a str,
    fingerprint: String,
    bus: String,
    #[serde(flatten)]
    plan: &'a Plan,
}

impl Args {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let mut out = Out::new();
        for (index, of) in context.pipelines(&self.job)?.into_iter().enumerate() {
            if index > 0 && !self.json {
                out.line("")?;
            }
            self.show(of, &context.settings_of(of.tier, &[])?, &mut out)?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }

    fn show(&self, of: TierOf, settings: &Settings, out: &mut Out) -> Result<()> {
        let (pipeline, doc) = (run::pipeline(of), of.job.doc());
        let plan = engine::plan(&pipeline)?;
        let fingerprint = format!("{:032x}", plan.fingerprint(settings.lanes));
        if self.json {
            return out.json(&Document { pipeline: &pipeline.name, doc, fingerprint, bus: settings.bus_url(), plan: &plan });
        }
        out.line(format_args!("{}  ({} tier, an epoch every {})", pipeline.name, of.tier, span(settings.epoch_interval_ms)))?;
        doc.lines().try_for_each(|line| out.line(format_args!("  {line}")))?;
        out.line("")?;
        lines(&plan).iter().try_for_each(|line| out.line(line))?;
        out.line("")?;
        out.line("Sinks")?;
        let rows: Vec<_> = plan.sinks().map(|s| [role(s.role).into(), s.target.to_string(), s.guarantee.to_string()]).collect();
        out.table(["WHAT", "WHERE", "GUARANTEE"], &rows)?;
        out.line("")?;
        out.line(format_args!("fingerprint {fingerprint} (with {} lanes); bus {}", settings.lanes, settings.bus_url()))
    }
}

fn span(ms: u64) -> String {
    if ms.is_multiple_of(1_000) { format!("{} s", ms / 1_000) } else { format!("{ms} ms") }
}

/// The dataflow from top to bottom: side branches are indented, the longest one goes straight on.
fn lines(plan: &Plan) -> Vec<String> {
    let width = plan.nodes.iter().map(|n| n.kind.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    let mut shown = BTreeSet::new();
    for root in plan.nodes.iter().filter(|n| n.inputs.is_empty()) {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        chain(plan, root, "", width, &mut shown, &mut lines);
    }
    lines
}

fn chain(plan: &Plan, first: &Node, indent: &str, width: usize, shown: &mut BTreeSet<NodeId>, lines: &mut Vec<String>) {
    let mut next = Some(first);
    while let Some(node) = next {
        let again = !shown.insert(node.id);
        lines.push(format!("{indent}{:width$}  {}", node.kind, about(node)).trim_end().to_string());
        if again {
            lines.push(format!("{indent}{:width$}  (goes on above)", ""));
            return;
        }
        let mut after: Vec<&Node> = plan.nodes.iter().filter(|n| n.inputs.contains(&node.id)).collect();
        after.sort_by_key(|n| length(plan, n));
        next = after.pop();
        for branch in after {
            chain(plan, branch, &format!("{indent}│  "), width, shown, lines);
        }
    }
}

/// How many nodes follow, the longest way.
fn length(plan: &Plan, node: &Node) -> usize {
    let after = plan.nodes.iter().filter(|n| n.inputs.contains(&node.id));
    1 + after.map(|n| length(plan, n)).max().unwrap_or(0)
}

fn about(node: &Node) -> String {
    let state = node.state.as_ref().map(|s| format!("[state {}]", s.name));
    let sink = node.sink.as_ref().map(|s| format!("{} -> {}, {}", role(s.role), s.target, s.guarantee));
    let detail = Some(node.detail.clone()).filter(|d| node.sink.is_none() && !d.is_empty());
    let correction = node.correction.map(|correction| format!("corrected: {correction}"));
    [detail, sink, state, correction].into_iter().flatten().collect::<Vec<_>>().join("  ")
}

fn role(role: SinkRole) -> &'static str {
    match role {
        SinkRole::Results => "results",
        SinkRole::Late => "late records",
        SinkRole::DeadLetters => "dead letters",
    }
}
