//! `plan`: what a job does, before anything runs.

use super::context::Context;
use super::out::Out;
use crate::{Result, run};
use distributary_runtime::engine;
use distributary_runtime::plan::{Node, NodeId, Plan, SinkRole};
use serde::Serialize;
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Show the plan of a job: sources, operators, state, and every sink with what it promises.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The job.
    job: String,
    /// One JSON document.
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
        let job = context.job(&self.job)?;
        let settings = context.settings()?;
        let pipeline = run::pipeline(job);
        let plan = engine::plan(&pipeline)?;
        let fingerprint = format!("{:032x}", plan.fingerprint(settings.lanes));
        let mut out = Out::new();
        if self.json {
            let document =
                Document { pipeline: &pipeline.name, doc: job.doc(), fingerprint, bus: settings.bus_url(), plan: &plan };
            out.json(&document)?;
        } else {
            out.line(&pipeline.name)?;
            job.doc().lines().try_for_each(|line| out.line(format_args!("  {line}")))?;
            out.line("")?;
            lines(&plan).iter().try_for_each(|line| out.line(line))?;
            out.line("")?;
            out.line("Sinks")?;
            let rows: Vec<_> =
                plan.sinks().map(|s| [role(s.role).into(), s.target.to_string(), s.guarantee.to_string()]).collect();
            out.table(["WHAT", "WHERE", "GUARANTEE"], &rows)?;
            out.line("")?;
            out.line(format_args!("fingerprint {fingerprint} (with {} lanes); bus {}", settings.lanes, settings.bus_url()))?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
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
    [detail, sink, state].into_iter().flatten().collect::<Vec<_>>().join("  ")
}

fn role(role: SinkRole) -> &'static str {
    match role {
        SinkRole::Results => "results",
        SinkRole::Late => "late records",
        SinkRole::DeadLetters => "dead letters",
    }
}
