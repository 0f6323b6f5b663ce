//! `topic create`

use crate::cli::context::Context;
use crate::cli::out::Out;
use crate::{Error, Result};
use distributary_runtime::bus::{TopicForm, TopicSpec};
use std::process::ExitCode;

/// Create a topic.
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// Its name: letters, digits, `.`, `_`, `-`.
    name: String,
    /// Number of partitions; it can only be raised later.
    #[arg(long, short, default_value_t = 4)]
    partitions: u32,
    /// `append`: every record stands for itself; `upsert`: the newest record of a key counts, and older ones go.
    #[arg(long, value_enum, default_value_t = Form::Append)]
    form: Form,
    /// Records go when they are older than this many hours [default: 168 for append; kept for upsert].
    #[arg(long, value_name = "HOURS")]
    retention_hours: Option<u64>,
    /// The oldest records of a partition go when it exceeds this many bytes.
    #[arg(long, value_name = "BYTES")]
    retention_bytes: Option<u64>,
    /// Keep records whatever their age.
    #[arg(long, conflicts_with = "retention_hours")]
    keep: bool,
    /// It is fine if the topic exists.
    #[arg(long)]
    if_missing: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Form {
    Append,
    Upsert,
}

impl Args {
    pub(super) fn run(self, context: &Context<'_>) -> Result<ExitCode> {
        let spec = match self.form {
            Form::Append => TopicSpec::new(&self.name, self.partitions),
            Form::Upsert => TopicSpec::upsert(&self.name, self.partitions),
        };
        let retention_ms = match self.retention_hours {
            Some(hours) => Some(hours.saturating_mul(3_600_000)),
            None if self.keep => None,
            None => spec.retention_ms,
        };
        let spec = TopicSpec { retention_ms, retention_bytes: self.retention_bytes, ..spec };
        if matches!(spec.form, TopicForm::Upsert) && (self.retention_hours.is_some() || self.retention_bytes.is_some()) {
            let what = format!("topic `{}`: an upsert topic keeps the newest record of each key, whatever its age", self.name);
            return Err(Error::refused(what, "leave the retention away, or use `--form append`"));
        }
        let created = context.bus()?.create_topic(&spec)?;
        if !created && !self.if_missing {
            let what = format!("topic `{}` exists already", self.name);
            return Err(Error::refused(what, "see `topic list`; `--if-missing` accepts it as it is"));
        }
        let mut out = Out::new();
        out.line(if created {
            format!("created {} with {} partitions", self.name, self.partitions)
        } else {
            format!("{} exists", self.name)
        })?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}
