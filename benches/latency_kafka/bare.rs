//! The bare loops: read, process and write with librdkafka and nothing else, as somebody who knows it well would write them.
//!
//! Outputs of an interval are collected and sent in one go at its close: right behind a commit the broker still writes the
//! markers of that transaction, and answers what begins the next one with an error that librdkafka only retries 20 ms later.

use super::JobName;
use super::cluster::{ANSWER, PARTITIONS, Result, consumer, producer, read_all};
use clap::ValueEnum;
use distributary_runtime::time::monotonic;
use hashbrown::HashMap;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::time::Duration;

/// More than this is not put into one transaction.
const RECORDS_MAX: usize = 50_000;

/// What a process of a bare loop is told.
#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    pub(crate) brokers: String,
    pub(crate) job: JobName,
    pub(crate) guarantee: Guarantee,
    /// How long outputs are collected.
    pub(crate) interval_ms: u64,
    /// Consumer group and transactional id.
    pub(crate) name: String,
}

/// How outputs and position belong together.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Guarantee {
    /// In one transaction.
    Transaction,
    /// The position follows the flushed outputs: a crash repeats some.
    Flush,
}

#[derive(Deserialize)]
struct Payment<'a> {
    payment_id: &'a str,
    user: &'a str,
    amount_cents: i64,
    due_us: i64,
}

#[derive(Serialize)]
struct Flagged<'a> {
    payment_id: &'a str,
    user: &'a str,
    amount_cents: i64,
    flag: bool,
    due_us: i64,
}

#[derive(Serialize, Deserialize)]
struct Spend<'a> {
    user: &'a str,
    count: i64,
    sum: i64,
    due_us: i64,
}

/// Runs until it is killed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut config = producer(&args.brokers);
    // Everything is handed over in one go and flushed, which ends the lingering at once.
    config.set("linger.ms", "5");
    if let Guarantee::Transaction = args.guarantee {
        config.set("transactional.id", &args.name).set("transaction.timeout.ms", "10000");
    }
    let producer: BaseProducer = config.create()?;
    producer.client().fetch_metadata(Some("out"), ANSWER)?;
    if let Guarantee::Transaction = args.guarantee {
        producer.init_transactions(ANSWER)?;
    }
    let mut work = Work::default();
    if args.job == JobName::Spend {
        work.restore(&args.brokers)?;
    }
    let (consumer, mut position) = resume(args)?;
    let group = consumer.group_metadata().ok_or("the consumer has no group")?;
    let interval = Duration::from_millis(args.interval_ms);
    let mut close = monotonic() + interval;
    loop {
        let mut read = 0;
        // What has gathered while the last commit ran is taken in any case, however late it is.
        while read < RECORDS_MAX
            && let Some(message) = consumer.poll(close.saturating_duration_since(monotonic()))
        {
            let message = message?;
            match args.job {
                JobName::Relay => work.relay(message.payload().unwrap_or_default())?,
                JobName::Spend => work.spend(message.payload().unwrap_or_default())?,
            }
            position.set_partition_offset("in", message.partition(), Offset::Offset(message.offset() + 1))?;
            read += 1;
        }
        close = monotonic().max(close) + interval;
        if read == 0 {
            continue;
        }
        work.close_spend()?;
        match args.guarantee {
            Guarantee::Transaction => {
                producer.begin_transaction()?;
                work.send(&producer)?;
                flush(&producer)?;
                producer.send_offsets_to_transaction(&position, &group, ANSWER)?;
                producer.commit_transaction(ANSWER)?;
            }
            Guarantee::Flush => {
                work.send(&producer)?;
                flush(&producer)?;
                consumer.commit(&position, CommitMode::Async)?;
            }
        }
    }
}

/// A consumer that goes on where the group stands.
fn resume(args: &Args) -> Result<(BaseConsumer, TopicPartitionList)> {
    let consumer: BaseConsumer = consumer(&args.brokers, &args.name).create()?;
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range("in", 0, PARTITIONS - 1);
    let committed = consumer.committed_offsets(asked, ANSWER)?;
    let mut position = TopicPartitionList::new();
    for found in committed.elements() {
        let from = if let Offset::Offset(_) = found.offset() { found.offset() } else { Offset::Offset(0) };
        position.add_partition_offset("in", found.partition(), from)?;
    }
    consumer.assign(&position)?;
    Ok((consumer, position))
}

/// State and collected outputs.
#[derive(Default)]
struct Work {
    bytes: Vec<u8>,
    /// Key and value of each output, in `bytes`.
    outputs: Vec<(Range<usize>, Range<usize>)>,
    users: HashMap<String, usize>,
    totals: Vec<Total>,
    touched: Vec<usize>,
}

#[derive(Clone, Default)]
struct Total {
    user: String,
    count: i64,
    sum: i64,
    due_us: i64,
    touched: bool,
}

impl Work {
    fn relay(&mut self, payload: &[u8]) -> Result<()> {
        let Payment { payment_id, user, amount_cents, due_us } = serde_json::from_slice(payload)?;
        if amount_cents % 10 == 0 {
            return Ok(());
        }
        self.output(user, &Flagged { payment_id, user, amount_cents, flag: amount_cents > 90_000, due_us })
    }

    fn spend(&mut self, payload: &[u8]) -> Result<()> {
        let payment: Payment<'_> = serde_json::from_slice(payload)?;
        let at = self.at(payment.user);
        let total = &mut self.totals[at];
        total.count += 1;
        total.sum += payment.amount_cents;
        total.due_us = total.due_us.max(payment.due_us);
        if !std::mem::replace(&mut total.touched, true) {
            self.touched.push(at);
        }
        Ok(())
    }

    /// The last state of each user that was touched.
    fn close_spend(&mut self) -> Result<()> {
        for at in std::mem::take(&mut self.touched) {
            let total = &mut self.totals[at];
            total.touched = false;
            let (user, count, sum, due_us) = (std::mem::take(&mut total.user), total.count, total.sum, total.due_us);
            self.output(&user, &Spend { user: &user, count, sum, due_us })?;
            self.totals[at].user = user;
        }
        Ok(())
    }

    fn output(&mut self, key: &str, value: &impl Serialize) -> Result<()> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key.as_bytes());
        let middle = self.bytes.len();
        serde_json::to_writer(&mut self.bytes, value)?;
        self.outputs.push((start..middle, middle..self.bytes.len()));
        Ok(())
    }

    fn send(&mut self, producer: &BaseProducer) -> Result<()> {
        for (key, value) in self.outputs.drain(..) {
            let mut record = BaseRecord::to("out").key(&self.bytes[key]).payload(&self.bytes[value]);
            while let Err((error, refused)) = producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                producer.poll(Duration::from_millis(1));
                record = refused;
            }
        }
        self.bytes.clear();
        Ok(())
    }

    fn at(&mut self, user: &str) -> usize {
        if let Some(at) = self.users.get(user) {
            return *at;
        }
        let at = self.totals.len();
        self.totals.push(Total { user: user.to_string(), ..Total::default() });
        self.users.insert(user.to_string(), at);
        at
    }

    /// The topic that is written is the state: the newest record of each user.
    fn restore(&mut self, brokers: &str) -> Result<()> {
        let mut config = consumer(brokers, "bench-restore");
        config.set("enable.partition.eof", "true");
        let consumer = read_all(&config, "out")?;
        let mut ends = 0;
        while ends < PARTITIONS {
            let message = match consumer.poll(ANSWER) {
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    ends += 1;
                    continue;
                }
                Some(message) => message?,
                None => return Err("no end of `out` was found".into()),
            };
            let Spend { user, count, sum, due_us } = serde_json::from_slice(message.payload().unwrap_or_default())?;
            let at = self.at(user);
            let total = &mut self.totals[at];
            (total.count, total.sum, total.due_us) = (count, sum, due_us);
        }
        Ok(())
    }
}

/// Sleeps until everything that was sent has been answered. The crate's own flush wakes up once in 100 ms only.
#[allow(unsafe_code, reason = "the crate offers no flush that sleeps exactly as long as it takes")]
fn flush(producer: &BaseProducer<DefaultProducerContext>) -> Result<()> {
    // SAFETY: the client lives as long as `producer`.
    let error = unsafe { rdkafka::bindings::rd_kafka_flush(producer.client().native_ptr(), ANSWER.as_millis() as i32) };
    match RDKafkaErrorCode::from(error) {
        RDKafkaErrorCode::NoError => Ok(()),
        error => Err(KafkaError::Flush(error).into()),
    }
}
