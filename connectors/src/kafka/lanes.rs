//! Lanes: one transaction a commit, with all its records and one marker record; one transactional id a lane.
//!
//! Initialising the id ends whatever an earlier producer of it had open, and shuts that producer out. So the marker that is
//! read behind it says exactly what stands. The marker record carries the token too: a process that was paused finds a
//! greater one, and leaves the lane alone.
//!
//! librdkafka sends the commit of a transaction again by itself when no answer comes, and a copy that arrives late can end
//! the *next* transaction half-written. Therefore a producer is used again only after a commit that was too quick to have
//! been sent twice. In every other case it goes, a new one is initialised, and the marker decides. A transaction is never
//! aborted by request, for the same reason.

use super::Shared;
use super::append::{Placed, ROOM, learn_all, send};
use super::client::{RETRY_BACKOFF, TRANSACTION, Voice, learn};
use super::fault::unavailable;
use super::ffi;
use super::marker::{self, Held, Place};
use distributary_runtime::bus::{BusError, LaneCommit, Marker, NewRecord, Token};
use distributary_runtime::time::{Clock, monotonic};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The broker ends what another producer left open before it answers, or refuses; both within this.
const INITIALISE: Duration = Duration::from_secs(30);

/// How long a flush sleeps before failures are looked at.
const FLUSH_TURN: Duration = Duration::from_millis(100);

/// An old owner that does not know it yet may take the lane back while we claim it; it gives up when it reads our claim.
const CLAIMS_MAX: usize = 16;

/// The lanes this process writes to.
pub(super) struct Lanes {
    shared: Shared,
    clock: Arc<dyn Clock>,
    owned: Mutex<BTreeMap<String, Arc<Mutex<Option<Owner>>>>>,
}

/// A producer that has the lane, and what it has made visible.
struct Owner {
    held: Held,
    place: Place,
    producer: BaseProducer<Voice>,
    /// What the transaction that is open will make visible.
    open: Option<Marker>,
    /// Topics the producer knows.
    topics: BTreeSet<Arc<str>>,
}

/// Why a lane is entered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// To take it from whoever has it.
    Fence,
    /// To go on with what is ours already.
    GoOn,
}

/// What a marker says of a commit whose producer has gone.
enum Found {
    Stands,
    Nothing,
    Foreign,
}

impl Lanes {
    pub(super) fn new(shared: Shared, clock: Arc<dyn Clock>) -> Self {
        Self { shared, clock, owned: Mutex::default() }
    }

    pub(super) fn fence(&self, lane: &str, token: Token) -> Result<Option<Marker>, BusError> {
        let slot = self.slot(lane);
        let mut owned = slot.lock().unwrap_or_else(PoisonError::into_inner);
        *owned = None;
        let owner = self.enter(lane, token, Entry::Fence)?;
        Ok(owned.insert(owner).held.marker)
    }

    /// Sends what the commit will make visible. Without a producer that has the lane nothing is done: the commit gets one, and decides.
    pub(super) fn prepare(&self, commit: &LaneCommit) -> Result<(), BusError> {
        let records = self.shared.places(&commit.records)?;
        let slot = self.slot(&commit.lane);
        let mut owned = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = |owner: &mut Owner| owner.goes_on(commit) && owner.open.is_none();
        let Some(mut owner) = owned.take_if(goes_on) else { return Ok(()) };
        self.begin(&mut owner, commit, &records).map_err(|error| failed(commit, &error))?;
        *owned = Some(owner);
        Ok(())
    }

    pub(super) fn commit(&self, commit: &LaneCommit) -> Result<(), BusError> {
        let records = self.shared.places(&commit.records)?;
        let slot = self.slot(&commit.lane);
        let mut owned = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let mut owner = match owned.take() {
            // What was sent ahead for another commit goes with its producer.
            Some(owner) if owner.open.is_none_or(|open| open == commit.marker) => owner,
            _ => self.enter(&commit.lane, commit.token, Entry::GoOn)?,
        };
        if !owner.goes_on(commit) {
            *owned = Some(owner);
            return Err(BusError::Fenced { lane: commit.lane.clone() });
        }
        match self.write(&mut owner, commit, &records) {
            Ok(lasted) if lasted < RETRY_BACKOFF.mul_f64(0.8) => {
                *owned = Some(committed(owner, commit));
                return Ok(());
            }
            Ok(lasted) => tracing::debug!(lane = commit.lane, ?lasted, "a slow commit: the marker decides"),
            Err(error) if is_fenced(&error) => tracing::debug!(lane = commit.lane, %error, "shut out: the marker decides"),
            Err(error) => return Err(failed(commit, &error)),
        }
        drop(owner);
        let mut owner = self.enter(&commit.lane, commit.token, Entry::GoOn)?;
        match found(commit, owner.held.marker) {
            Found::Stands => {}
            Found::Nothing => {
                self.write(&mut owner, commit, &records).map_err(|error| failed(commit, &error))?;
                // However long it took: what the next commit finds is decided as above, by a producer of its own.
                return Ok(());
            }
            Found::Foreign => return Err(BusError::Fenced { lane: commit.lane.clone() }),
        }
        *owned = Some(owner);
        Ok(())
    }

    fn enter(&self, lane: &str, token: Token, entry: Entry) -> Result<Owner, BusError> {
        let place = marker::place(lane);
        place.ensure(&self.shared)?;
        let mut last = None;
        for _ in 0..CLAIMS_MAX {
            // Looked at first, because initialising shuts out whoever has the lane.
            check(lane, place.read(&self.shared, lane)?, token, entry)?;
            let producer = self.shared.settings.transactional(lane)?;
            learn(producer.client(), &place.topic).map_err(|e| unavailable("reaching a broker", e))?;
            match producer.init_transactions(INITIALISE) {
                Ok(()) => {}
                Err(error) if is_fenced(&error) => {
                    last = Some(error);
                    continue;
                }
                Err(error) => return Err(unavailable(&format!("entering lane `{lane}`"), error)),
            }
            let found = check(lane, place.read(&self.shared, lane)?, token, entry)?;
            let held = Held { token, marker: found.and_then(|held| held.marker) };
            let mut owner = Owner { held, place: place.clone(), producer, topics: BTreeSet::new(), open: None };
            if found == Some(held) {
                return Ok(owner);
            }
            let claim = marker::record(lane, &held, self.clock.now());
            match begin(&mut owner, &[], &claim).and_then(|()| finish(&mut owner)) {
                Ok(_) => return Ok(owner),
                Err(error) if is_fenced(&error) => last = Some(error),
                Err(error) => return Err(unavailable(&format!("claiming lane `{lane}`"), error)),
            }
        }
        let reason = last.map_or_else(String::new, |error| error.to_string());
        Err(unavailable(&format!("claiming lane `{lane}`"), format!("another process wants it too: {reason}")))
    }

    /// Returns how long the commit alone took.
    fn write(&self, owner: &mut Owner, commit: &LaneCommit, records: &[Placed<'_>]) -> Result<Duration, KafkaError> {
        if owner.open.is_none() {
            self.begin(owner, commit, records)?;
        }
        finish(owner)
    }

    fn begin(&self, owner: &mut Owner, commit: &LaneCommit, records: &[Placed<'_>]) -> Result<(), KafkaError> {
        let held = Held { token: commit.token, marker: Some(commit.marker) };
        owner.open = Some(commit.marker);
        begin(owner, records, &marker::record(&commit.lane, &held, self.clock.now()))
    }

    fn slot(&self, lane: &str) -> Arc<Mutex<Option<Owner>>> {
        let mut owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        owned.entry(lane.to_string()).or_default().clone()
    }
}

/// Whose lane it is, by its marker record.
fn check(lane: &str, found: Option<Held>, token: Token, entry: Entry) -> Result<Option<Held>, BusError> {
    let ours = match entry {
        Entry::Fence => found.is_none_or(|held| held.token <= token),
        Entry::GoOn => found.is_some_and(|held| held.token == token),
    };
    if ours { Ok(found) } else { Err(BusError::Fenced { lane: lane.to_string() }) }
}

fn found(commit: &LaneCommit, marker: Option<Marker>) -> Found {
    if marker == Some(commit.marker) {
        Found::Stands
    } else if marker == commit.previous {
        Found::Nothing
    } else {
        Found::Foreign
    }
}

impl Owner {
    /// Whether this is the next commit of the lane.
    fn goes_on(&self, commit: &LaneCommit) -> bool {
        self.held == Held { token: commit.token, marker: commit.previous }
    }
}

/// Hands everything over in one go: what joins a transaction before the last one's markers are written waits for 20 ms.
fn begin(owner: &mut Owner, records: &[Placed<'_>], marker: &NewRecord) -> Result<(), KafkaError> {
    let Owner { producer, place, topics, .. } = owner;
    learn_all(producer, topics, records)?;
    let wait = || {
        producer.poll(Duration::ZERO);
        std::thread::park_timeout(ROOM);
    };
    producer.begin_transaction()?;
    for placed in records {
        send(producer, placed, (), wait)?;
    }
    send(producer, &Placed { topic: place.topic.as_str().into(), partition: place.partition, record: marker }, (), wait)
}

/// Flushes, and only then commits: the client's own flush is slow, and the time of the commit alone tells whether it can have
/// been sent twice.
fn finish(owner: &mut Owner) -> Result<Duration, KafkaError> {
    let producer = &owner.producer;
    let start = monotonic();
    while !ffi::flush(producer, FLUSH_TURN) {
        // Failures of single records lie in a queue, and count until they are taken; the commit then fails.
        producer.poll(Duration::ZERO);
        if start.elapsed() > TRANSACTION {
            return Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut));
        }
    }
    let start = monotonic();
    producer.commit_transaction(TRANSACTION)?;
    Ok(start.elapsed())
}

fn committed(owner: Owner, commit: &LaneCommit) -> Owner {
    Owner { held: Held { token: commit.token, marker: Some(commit.marker) }, open: None, ..owner }
}

/// Another producer has initialised our id.
fn is_fenced(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{Fatal, Fenced, InvalidProducerEpoch, ProducerFenced};
    matches!(error.rdkafka_error_code(), Some(Fatal | Fenced | InvalidProducerEpoch | ProducerFenced))
}

/// Whether the commit stands is for the marker to say, when the lane is fenced again. The broker's answer says little: Kafka 4.3 answers
/// a commit with an unknown server error while it prepares to shut the producer out.
fn failed(commit: &LaneCommit, error: &KafkaError) -> BusError {
    unavailable(&format!("committing lane `{}`", commit.lane), error)
}
