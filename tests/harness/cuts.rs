//! Cuts: what every reader of the bus sees right behind a kill, before the next start.
//!
//! At a marker m a log must hold every output of an epoch up to m, and none behind it. The second is seen at once; the
//! first when the final log is there: the cut must be a prefix of it, and what follows must be of later epochs. On Kafka the
//! final log also shows where each transaction ended in each partition: within no epoch.
//!
//! Topics of tail lanes have no marker, and no atomicity over partitions: behind a kill, an epoch may stand in one of them and
//! not in another, and it may end anywhere. What they promise is a sequence: the cut is a prefix of the final log, and in each
//! partition the places that a reading client keeps follow each other without a hole, 0, 1, 2, ... in each epoch, and epochs
//! grow. A hole is what "torn" means there.

use crate::findings::Findings;
use crate::ledger::{self, OUTPUTS, PIPELINE};
use crate::places::{Read, Reader};
use crate::{Result, outside};
use distributary_runtime::bus::{Bus, Offset, Record};
use distributary_runtime::plan::TopicLane;
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// All cuts of a campaign.
pub struct Cuts {
    lanes: u32,
    /// What the job chooses.
    lane: TopicLane,
    /// How far each log has been read.
    read: BTreeMap<(&'static str, u32), Prefix>,
    cuts: BTreeMap<(&'static str, u32), Vec<Cut>>,
    woken: BTreeSet<u64>,
}

/// The beginning of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Prefix {
    end: Offset,
    digest: u64,
    /// The newest epoch in it.
    epoch: u64,
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    kill: u64,
    /// Of a transactional lane.
    marker: Option<u64>,
    prefix: Prefix,
}

impl Cuts {
    /// No cuts yet, of a job with so many lanes of this kind.
    #[must_use]
    pub fn new(lanes: u32, lane: TopicLane) -> Self {
        Self { lanes, lane, read: BTreeMap::new(), cuts: BTreeMap::new(), woken: BTreeSet::new() }
    }

    /// Before this kill a process was woken whose place another had taken.
    pub fn woken(&mut self, kill: u64) {
        // The next start may have to write states once more that late records stand behind.
        self.woken.extend([kill, kill + 1]);
    }

    /// Looks at all logs; no process is alive.
    ///
    /// # Errors
    /// The bus failed, or an output is none of the job's.
    pub fn cut(&mut self, bus: &dyn Bus, kill: u64, findings: &mut Findings) -> Result<()> {
        let markers: Vec<u64> = (0..self.lanes)
            .map(|lane| Ok(outside::marker(bus, PIPELINE, lane)?.map_or(0, |(_, epoch)| epoch)))
            .collect::<Result<_>>()?;
        for name in OUTPUTS {
            let Some(topic) = bus.topic(name)? else { continue };
            let has_marker = ledger::lane_of(name, self.lane) == TopicLane::Transactional;
            let marker_of = |partition| has_marker.then(|| markers[(partition % self.lanes) as usize]);
            let from = (0..topic.spec.partitions).map(|p| (p, self.read.entry((name, p)).or_default().end)).collect();
            outside::read(bus, topic.id, &from, |partition, record| {
                let prefix = self.read.entry((name, partition)).or_default();
                let taken = prefix.take(record)?;
                if let Some(marker) = marker_of(partition).filter(|marker| taken > *marker) {
                    findings.torn(|| {
                        let (at, epoch) = (record.offset, prefix.epoch);
                        format!("{name}[{partition}]@{at} is of epoch {epoch}, the marker behind kill {kill} is {marker}")
                    });
                }
                Ok(())
            })?;
            for partition in 0..topic.spec.partitions {
                let prefix = self.read.get(&(name, partition)).copied().unwrap_or_default();
                let marker = marker_of(partition);
                self.cuts.entry((name, partition)).or_default().push(Cut { kill, marker, prefix });
            }
        }
        Ok(())
    }

    /// Compares the final log of a partition with its cuts.
    pub(crate) fn compare(&self, name: &'static str, partition: u32) -> Compare<'_> {
        let cuts = self.cuts.get(&(name, partition)).map_or(&[][..], Vec::as_slice);
        let lane = ledger::lane_of(name, self.lane);
        let last_life = cuts.last().map_or(1, |cut| cut.kill + 1);
        Compare {
            name,
            partition,
            lane,
            cuts,
            woken: &self.woken,
            last_life,
            prefix: Prefix::default(),
            reader: Reader::default(),
        }
    }
}

impl Prefix {
    /// Takes the next record in; returns its epoch.
    fn take(&mut self, record: &Record) -> Result<u64> {
        let epoch = record.header("epoch").and_then(|e| e.parse().ok());
        self.epoch = epoch.ok_or_else(|| format!("an output at offset {} names no epoch", record.offset))?;
        self.end = record.offset.next();
        self.digest = xxh3_64_with_seed(&digest(record).to_le_bytes(), self.digest);
        Ok(self.epoch)
    }
}

/// Everything a reader sees of a record.
fn digest(record: &Record) -> u64 {
    let mut bytes = Vec::with_capacity(256);
    let mut part = |part: Option<&[u8]>| {
        bytes.extend_from_slice(&part.map_or(u64::MAX, |p| p.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.unwrap_or_default());
    };
    part(Some(&record.offset.0.to_le_bytes()));
    part(Some(&record.timestamp.0.to_le_bytes()));
    part(record.key.as_deref());
    part(record.value.as_deref());
    record.headers.iter().for_each(|(name, value)| {
        part(Some(name.as_bytes()));
        part(Some(value));
    });
    xxh3_64(&bytes)
}

/// Walks along a final log.
pub(crate) struct Compare<'a> {
    name: &'static str,
    partition: u32,
    lane: TopicLane,
    /// Those not yet reached.
    cuts: &'a [Cut],
    woken: &'a BTreeSet<u64>,
    /// The number of the life that nobody killed.
    last_life: u64,
    prefix: Prefix,
    reader: Reader,
}

impl Compare<'_> {
    /// The next record of the log; whether it counts. Those that stand once more do not, where a late one is allowed to.
    pub(crate) fn record(&mut self, record: &Record, findings: &mut Findings) -> Result<bool> {
        let before = self.prefix;
        let epoch = self.prefix.take(record)?;
        let (name, partition, at) = (self.name, self.partition, record.offset);
        let read = self.reader.read(record)?;
        if read == Read::Hole {
            findings.torn(|| format!("{name}[{partition}]@{at}: records are missing within epoch {epoch} or before it"));
        }
        let is_transactional = self.lane == TopicLane::Transactional;
        if is_transactional && epoch < before.epoch {
            findings.torn(|| format!("{name}[{partition}]@{at} is of epoch {epoch}, behind one of epoch {}", before.epoch));
        }
        // A transaction leaves a hole behind it.
        if is_transactional && epoch == before.epoch && at != before.end {
            findings.torn(|| format!("{name}[{partition}]@{at}: epoch {epoch} goes on behind the end of a transaction"));
        }
        while let Some((cut, rest)) = self.cuts.split_first().filter(|(cut, _)| cut.prefix.end <= at) {
            if cut.prefix.digest != before.digest {
                findings.torn(|| format!("{name}[{partition}] below {at} is not what it was behind kill {}", cut.kill));
            }
            if let Some(marker) = cut.marker.filter(|marker| epoch <= *marker) {
                let kill = cut.kill;
                findings.torn(|| {
                    format!("{name}[{partition}]@{at} is of epoch {epoch}, and was missing behind kill {kill} at marker {marker}")
                });
            }
            self.cuts = rest;
        }
        let is_dropped = !is_transactional && read == Read::Repeated;
        findings.repeated += u64::from(is_dropped);
        let life = self.cuts.first().map_or(self.last_life, |cut| cut.kill);
        findings.late_of_killed += u64::from(is_dropped && !self.woken.contains(&life));
        Ok(!is_dropped)
    }

    /// The log ends.
    pub(crate) fn end(self, findings: &mut Findings) {
        let (name, partition) = (self.name, self.partition);
        for cut in self.cuts.iter().filter(|cut| cut.prefix != self.prefix) {
            findings.torn(|| format!("{name}[{partition}] ends otherwise than it did behind kill {}", cut.kill));
        }
    }
}
