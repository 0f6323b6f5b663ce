//! Places: where an output stands in the sequence of its partition, and what a reading client makes of it.

use crate::Result;
use distributary_runtime::bus::Record;

/// A place, as the headers of a record say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    generation: u64,
    epoch: u64,
    index: u64,
}

/// What a client finds that reads a partition from its beginning.
#[derive(Debug, Default)]
pub struct Reader {
    /// The greatest place it has read.
    last: Option<Place>,
}

/// What a record is to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// It comes right behind what was read.
    New,
    /// It comes behind what was read, but a record of its own or of the last epoch was left out.
    Hole,
    /// Its place does not come behind what was read: a client drops it.
    Repeated,
}

impl Reader {
    /// The next record of the partition.
    ///
    /// # Errors
    /// The record has no place, so it is none of the job's.
    pub fn read(&mut self, record: &Record) -> Result<Read> {
        let number = |name| record.header(name).and_then(|n| n.parse::<u64>().ok());
        let place = number("generation").zip(number("epoch")).zip(number("index"));
        let ((generation, epoch), index) = place.ok_or_else(|| format!("the output at offset {} has no place", record.offset))?;
        let place = Place { generation, epoch, index };
        let Some(last) = self.last.filter(|last| place <= *last) else {
            let before = self.last.replace(place).filter(|last| (last.generation, last.epoch) == (generation, epoch));
            let follows = index == before.map_or(0, |last| last.index + 1);
            return Ok(if follows { Read::New } else { Read::Hole });
        };
        self.last = Some(last);
        Ok(Read::Repeated)
    }
}
