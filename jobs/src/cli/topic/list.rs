//! `topic list`

use crate::Result;
use crate::cli::context::Context;
use crate::cli::out::{Out, bytes, grouped, span};
use distributary_runtime::bus::{PartitionOffsets, Topic, TopicForm};
use serde::Serialize;
use std::process::ExitCode;

/// List the topics with their partitions and records.
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// One JSON document, with the offsets of every partition.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed {
    id: String,
    #[serde(flatten)]
    topic: distributary_runtime::bus::TopicSpec,
    offsets: Vec<PartitionOffsets>,
}

impl Args {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let bus = context.bus()?;
        let mut listed = Vec::new();
        for Topic { id, spec } in bus.topics()? {
            // Gone since: then it is no topic any more.
            let Ok(offsets) = bus.offsets(id) else { continue };
            listed.push(Listed { id: id.to_string(), topic: spec, offsets });
        }
        let mut out = Out::new();
        if self.json {
            out.json(&listed)?;
        } else {
            let rows: Vec<_> = listed.iter().map(row).collect();
            out.table(["NAME", "PARTITIONS", "FORM", "OFFSETS", "RETENTION"], &rows)?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn row(listed: &Listed) -> [String; 5] {
    let spec = &listed.topic;
    let offsets: u64 = listed.offsets.iter().map(|o| o.end.0 - o.log_start.0).sum();
    let form = match spec.form {
        TopicForm::Append => "append",
        TopicForm::Upsert => "upsert",
    };
    let age = spec.retention_ms.map(|ms| span(i64::try_from(ms).unwrap_or(i64::MAX)));
    let size = spec.retention_bytes.map(|n| format!("{} each", bytes(n)));
    let retention: Vec<String> = age.into_iter().chain(size).collect();
    let retention = if retention.is_empty() { "kept".to_string() } else { retention.join(", ") };
    [spec.name.clone(), spec.partitions.to_string(), form.into(), grouped(offsets), retention]
}
