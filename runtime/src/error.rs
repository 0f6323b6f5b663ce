//! What can go wrong in a pipeline, and what is to be done about it.

use crate::bus::{BusError, Offset};
use crate::response::Response;
use crate::time::Epoch;

/// An error of the runtime: what happened, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another incarnation has started: this one has nothing to say any more.
    #[error("{pipeline}: fenced: a newer incarnation owns the pipeline ({what}); this process stops")]
    Fenced {
        /// The pipeline.
        pipeline: String,
        /// Where it was noticed.
        what: String,
    },
    /// A replay did not find what the binding promises.
    #[error(
        "not definite: {partition} of epoch {epoch} should hold {expected} records up to offset {upto}, found {found}; the bus \
         lost or changed records under a running pipeline: start a new generation (`run --from-zero`) or restore the topic"
    )]
    NotDefinite {
        /// `topic[partition]`.
        partition: String,
        /// The epoch whose binding does not hold.
        epoch: Epoch,
        /// End of the bound range.
        upto: Offset,
        /// Records the binding counted.
        expected: u64,
        /// Records found.
        found: u64,
    },
    /// Starting or going on would break a guarantee.
    #[error("{what}; {remedy}")]
    Refused {
        /// What is wrong and where.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A durable record of ours does not read back as it was written.
    #[error("{object}: damaged: {what}")]
    Damaged {
        /// The journal entry or state object.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// A setting is wrong.
    #[error("setting {name}: {what}")]
    Setting {
        /// Full name of the setting, and where it stands.
        name: String,
        /// What is wrong, and the nearest name or the allowed values.
        what: String,
    },
    /// The bus refused or failed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The checkpoint store failed.
    #[error("checkpoint store: {what}: {source}")]
    Store {
        /// The operation and object.
        what: String,
        /// The store's own error.
        source: object_store::Error,
    },
    /// A store outside could not be reached or failed; the same call may succeed later.
    #[error("{what}: {reason}")]
    Unavailable {
        /// What was being done, and where.
        what: String,
        /// The store's own words.
        reason: String,
    },
    /// A file or socket failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done to which file.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A worker or helper thread ended by a panic: a bug of ours.
    #[error("a thread of the pipeline panicked: {0}")]
    Panicked(String),
}

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What the caller does about it.
    #[must_use]
    pub fn response(&self) -> Response {
        match self {
            Self::Fenced { .. } => Response::StopProcess,
            Self::Bus(e) => e.response(),
            Self::Store { .. } | Self::Unavailable { .. } => Response::Retry,
            Self::NotDefinite { .. }
            | Self::Refused { .. }
            | Self::Damaged { .. }
            | Self::Setting { .. }
            | Self::Io { .. }
            | Self::Panicked(_) => Response::StopPipeline,
        }
    }

    /// A refusal: what is wrong, and the remedy.
    pub fn refused(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), remedy: remedy.into() }
    }
}
