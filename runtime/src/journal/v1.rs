//! Entries of format version 1: of the layout they name the plan's fingerprint only.

use super::{Incarnation, WallTime};
use crate::binding::{Binding, Feed};
use crate::bus::Offset;
use crate::layout::Layout;
use crate::time::Epoch;
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Entry {
    incarnation: Incarnation,
    fact: Fact,
}

#[derive(Deserialize)]
enum Fact {
    Start(Start),
    Binding(Binding),
    Checkpoint(Checkpoint),
    Retire { epoch: Epoch },
}

#[derive(Deserialize)]
struct Start {
    generation: u32,
    fingerprint: u128,
    at: WallTime,
    positions: Vec<(Feed, Offset)>,
    accepted_gaps: Vec<(Feed, Offset, Offset)>,
}

#[derive(Deserialize)]
struct Checkpoint {
    epoch: Epoch,
    generation: u32,
    fingerprint: u128,
    manifest: String,
    checksum: u64,
}

impl From<Entry> for super::Entry {
    fn from(Entry { incarnation, fact }: Entry) -> Self {
        let layout = |fingerprint| Layout { fingerprint, ..Layout::default() };
        let fact = match fact {
            Fact::Start(Start { generation, fingerprint, at, positions, accepted_gaps }) => {
                super::Fact::Start(super::Start { generation, layout: layout(fingerprint), at, positions, accepted_gaps })
            }
            Fact::Binding(binding) => super::Fact::Binding(binding),
            Fact::Checkpoint(Checkpoint { epoch, generation, fingerprint, manifest, checksum }) => {
                super::Fact::Checkpoint(super::Checkpoint { epoch, generation, layout: layout(fingerprint), manifest, checksum })
            }
            Fact::Retire { epoch } => super::Fact::Retire { epoch },
        };
        Self { incarnation, fact }
    }
}
