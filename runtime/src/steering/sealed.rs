//! Epochs that are closed by request, for tests and embedders: all that was on the bus then, and a watermark.

use super::Steering;
use crate::binding::{Binding, Feed, SourcePartition};
use crate::bus::Offset;
use crate::deletion;
use crate::error::Result;
use crate::time::{Epoch, EventTime, Watermark};
use crossbeam_channel::Sender;

pub(super) struct Seal {
    /// What was on the bus when it was asked for.
    ends: Vec<(Feed, Offset)>,
    watermark: Watermark,
    answer: Sender<Epoch>,
    closed: Option<Epoch>,
}

impl Steering {
    /// An epoch is to be closed behind what is on the bus now.
    pub(super) fn seal(&mut self, watermark: Watermark, answer: Sender<Epoch>) -> Result<()> {
        let ends = self.source_ends()?;
        self.seals.push(Seal { ends, watermark, answer, closed: None });
        Ok(())
    }

    /// Every lane has made everything up to `everywhere` visible.
    pub(super) fn answer_seals(&mut self, everywhere: Epoch) {
        for seal in self.seals.extract_if(.., |s| s.closed.is_some_and(|e| e <= everywhere)) {
            // Nobody waits for the answer any more: nothing is lost.
            let _ = seal.answer.send(seal.closed.unwrap_or(everywhere));
        }
    }

    /// The next epoch, when epochs are closed by request.
    pub(super) fn mint_sealed(&mut self) -> Option<Binding> {
        let seal = self.seals.iter_mut().find(|s| s.closed.is_none())?;
        let recalled = self.minter.positions().recalls.feeds().map(|feed| (feed, SourcePartition::RECALLED));
        let all_here = seal.ends.iter().copied().chain(recalled).all(|(feed, end)| self.minter.reached(feed) >= end);
        if self.minter.is_full() {
            return Some(self.mint(false, EventTime::MIN));
        }
        if !all_here {
            return None;
        }
        seal.closed = Some(self.minter.positions().epoch.next());
        let watermark = seal.watermark;
        Some(self.mint(false, watermark))
    }

    /// Where the sources end now.
    fn source_ends(&self) -> Result<Vec<(Feed, Offset)>> {
        let bus = &self.begin.components.bus;
        let mut ends = Vec::new();
        if self.begin.plan.is_about_somebody()
            && let Some(topic) = bus.topic(deletion::TOPIC)?
        {
            ends.extend(bus.offsets(topic.id)?.into_iter().map(|at| (Feed::REQUESTS, at.end)));
        }
        for source in self.begin.plan.sources() {
            let Some(topic) = bus.topic(&source.topic)? else { continue };
            for at in bus.offsets(topic.id)?.into_iter().filter(|at| at.log_start < at.end) {
                let partition = SourcePartition::Bus { topic: topic.id, partition: at.partition };
                ends.push((Feed { source: source.source, partition }, at.end));
            }
        }
        Ok(ends)
    }
}
