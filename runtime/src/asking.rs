//! Look-ups: questions that somebody outside answers.
//!
//! Whoever is asked may say something else tomorrow. So an answer is an input like any other: it is written to a topic of the pipeline's
//! own, read from there as a source, and holds from the epoch that binds it. A replay reads the same answers in the same epochs, and asks
//! nobody. A question is asked when the epoch that begins to wait for its answer closes, and again by the next process if this one ends
//! before it has written the answer down. Who is asked twice answers twice; nobody waits for the second answer, and it is dropped.

use crate::bus::{Bus, NewRecord, Topic};
use crate::error::{Error, Result};
use crate::failpoint::{Step, durable};
use crate::key::{Key, decode, encode, java_partition};
use crate::report::Reports;
use crate::response::Response;
use crate::threads::spawn;
use crate::time::{Clock, Epoch};
use crate::update::Data;
use crate::user_code::catch;
use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// How long a thread without work waits before it looks whether the pipeline has ended.
const TURN: Duration = Duration::from_millis(100);
/// Pause after a question that was not answered, or a bus that did not, and its doubling's end.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Questions that lie ready for who asks, and answers for who publishes, in one go if there are so many.
const READY_MAX: usize = 1_024;
/// Questions under way at a time, unless the job says.
const AT_ONCE: usize = 8;
/// How often a question is asked, unless the job says.
const ATTEMPTS: u32 = 5;

/// What a question asks for: the answer, or why there is none.
type Asks<Q, A> = dyn Fn(&Q) -> Result<A, String> + Send + Sync;

/// Somebody outside who answers questions, and how he is asked.
pub struct Service<Q, A> {
    ask: Arc<Asks<Q, A>>,
    at_once: usize,
    attempts: u32,
    fresh_for_ms: i64,
}

impl<Q, A> Clone for Service<Q, A> {
    fn clone(&self) -> Self {
        let (ask, at_once, attempts, fresh_for_ms) = (self.ask.clone(), self.at_once, self.attempts, self.fresh_for_ms);
        Self { ask, at_once, attempts, fresh_for_ms }
    }
}

impl<Q, A> Service<Q, A> {
    /// One that is asked by a call that waits for the answer: on threads of its own, eight at once, five times if it fails.
    pub fn new<E: Display>(ask: impl Fn(&Q) -> Result<A, E> + Send + Sync + 'static) -> Self {
        let ask = Arc::new(move |question: &Q| ask(question).map_err(|why| why.to_string()));
        Self { ask, at_once: AT_ONCE, attempts: ATTEMPTS, fresh_for_ms: 0 }
    }

    /// So many questions may be under way at a time, of all workers together (at least one of each).
    #[must_use]
    pub fn at_once(self, questions: usize) -> Self {
        Self { at_once: questions.max(1), ..self }
    }

    /// So often a question is asked that gets an error or a panic for an answer; then that is its answer.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts: attempts.max(1), ..self }
    }

    /// For so many milliseconds, on the bindings' clock, an answer serves whoever asks the same.
    #[must_use]
    pub fn fresh_for_ms(self, ms: i64) -> Self {
        Self { fresh_for_ms: ms.max(0), ..self }
    }

    /// See [`Service::fresh_for_ms`].
    #[must_use]
    pub fn freshness_ms(&self) -> i64 {
        self.fresh_for_ms
    }
}

/// Where questions go on one worker, and how its pipeline goes on.
pub struct Asking {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The topic of the answers.
    pub topic: Topic,
    /// What their records are stamped with.
    pub clock: Arc<dyn Clock>,
    /// The last epoch that was bound before this incarnation: what begins to wait in a replay may be answered in it.
    pub bound: Epoch,
    /// How many workers ask.
    pub peers: usize,
    /// The end of the pipeline, and how many questions wait.
    pub reports: Reports,
}

/// The questions of one operator on one worker.
pub struct Questions<Q> {
    asker: Option<Asker>,
    of: PhantomData<Q>,
}

struct Asker {
    /// Encoded questions.
    sender: Sender<Vec<u8>>,
    /// Those that are not asked yet: a replay may bring the answer, or too many lie ready. It is looked at when an epoch closes.
    held: VecDeque<Vec<u8>>,
    bound: Epoch,
    reports: Reports,
}

impl<Q: Key> Questions<Q> {
    /// Of a graph that is only planned, or whose test gives the answers itself: nobody is asked.
    #[must_use]
    pub fn to_nobody() -> Self {
        Self { asker: None, of: PhantomData }
    }

    pub(crate) fn to<A: Data>(service: &Service<Q, A>, asking: Asking) -> Self {
        let (sender, questions) = bounded(READY_MAX);
        let (answered, answers) = bounded(READY_MAX);
        let reports = asking.reports.clone();
        for _ in 0..service.at_once.div_ceil(asking.peers) {
            let (service, questions, answered, reports) = (service.clone(), questions.clone(), answered.clone(), reports.clone());
            spawn("asker", &reports.clone(), move || ask(&service, &questions, &answered, &reports));
        }
        let (bound, held) = (asking.bound, VecDeque::new());
        spawn("answers", &reports.clone(), move || publish(&asking, &answers));
        Self { asker: Some(Asker { sender, held, bound, reports }), of: PhantomData }
    }

    /// An epoch closes in which records have begun to wait for the answers to some questions, and for those to others no longer do.
    ///
    /// # Panics
    /// The key's `Serialize` refuses.
    pub fn close(&mut self, epoch: Epoch, begun: &[Q], ended: &[Q]) {
        let Some(Asker { sender, held, bound, reports }) = &mut self.asker else { return };
        reports.questions(begun.len() as i64 - ended.len() as i64);
        let bytes = |question: &Q| encode(question).unwrap_or_else(|_| panic!("a key must be encodable"));
        held.extend(begun.iter().map(bytes));
        if !held.is_empty() && !ended.is_empty() {
            let ended: BTreeSet<Vec<u8>> = ended.iter().map(bytes).collect();
            held.retain(|question| !ended.contains(question));
        }
        while epoch >= *bound
            && let Some(question) = held.pop_front()
        {
            // The receivers are gone only when the pipeline ends.
            if let Err(TrySendError::Full(question)) = sender.try_send(question) {
                held.push_front(question);
                break;
            }
        }
    }
}

/// A question and its answer, encoded.
type Answered = (Vec<u8>, Vec<u8>);

/// Asks one question after the other.
fn ask<Q: Key, A: Data>(
    service: &Service<Q, A>,
    questions: &Receiver<Vec<u8>>,
    answered: &Sender<Answered>,
    reports: &Reports,
) -> Result<()> {
    while !reports.is_halted() {
        let bytes = match questions.recv_timeout(TURN) {
            Ok(bytes) => bytes,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let Ok(question) = decode::<Q>(&bytes) else { unreachable!("it was encoded a moment ago") };
        let (mut attempts, mut wait) = (1, RETRY_MIN);
        let answer = loop {
            // What is said of it may be personal: it goes to the topic of the answers, and never to a log.
            let answer = catch(|| (service.ask)(&question)).flatten();
            if answer.is_ok() || attempts == service.attempts || reports.is_halted() {
                break answer;
            }
            std::thread::park_timeout(wait);
            (attempts, wait) = (attempts + 1, (wait * 2).min(RETRY_MAX));
        };
        let answer = encode(&answer).or_else(|e| encode(&Err::<A, _>(format!("the answer cannot be encoded: {e}"))));
        let Ok(answer) = answer else { unreachable!("a text can be encoded") };
        // The receiver is gone only when the pipeline ends.
        let _ = answered.send((bytes, answer));
    }
    Ok(())
}

/// Writes answers down, in the order in which they come.
fn publish(asking: &Asking, answers: &Receiver<Answered>) -> Result<()> {
    let Asking { bus, topic, clock, reports, .. } = asking;
    while !reports.is_halted() {
        let first = match answers.recv_timeout(TURN) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let now = clock.now();
        let record = |(question, answer): Answered| {
            let partition = Some(java_partition(&question, topic.spec.partitions));
            let (key, value) = (Some(Bytes::from(question)), Some(Bytes::from(answer)));
            NewRecord { partition, timestamp: now, key, value, headers: Vec::new() }
        };
        let records: Vec<_> = std::iter::once(first).chain(answers.try_iter().take(READY_MAX - 1)).map(record).collect();
        let mut wait = RETRY_MIN;
        while let Err(error) = durable(Step::AnswerPublish, || bus.produce(topic.id, records.clone())) {
            let error = Error::from(error);
            if error.response() != Response::Retry {
                return Err(error);
            }
            if reports.is_halted() {
                break;
            }
            tracing::warn!(topic = %topic.spec.name, %error, "answers could not be written down, trying again");
            std::thread::park_timeout(wait);
            wait = (wait * 2).min(RETRY_MAX);
        }
    }
    Ok(())
}
