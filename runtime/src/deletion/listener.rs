//! Reads the requests: all that are there when a pipeline starts, and then, on a thread of its own, those that come.

use super::{Request, TOPIC};
use crate::binding::{Delivered, Feed};
use crate::bus::{Bus, Consumer, Offset, Record, TopicId};
use crate::error::Result;
use crate::report::{Report, Reports};
use crate::response::Response;
use crate::threads::spawn;
use crate::time::EventTime;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a poll waits for a request.
const POLL_WAIT: Duration = Duration::from_millis(100);

/// What has been read, for all sources of a process. Whoever knows of a request's binding finds the request here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Arc<Mutex<BTreeMap<Offset, Arc<Request>>>>);

impl Requests {
    /// Those from one offset on, in front of another.
    pub(crate) fn between(&self, from: Offset, upto: Offset) -> Vec<Arc<Request>> {
        let requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.range(from..upto.max(from)).map(|(_, request)| request.clone()).collect()
    }

    /// Nothing of a record that cannot be read may be logged: it may name somebody.
    fn take(&self, record: &Record) {
        match record.value.as_deref().map(serde_json::from_slice::<Request>) {
            Some(Ok(request)) => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(record.offset, Arc::new(request));
            }
            _ => tracing::error!(
                topic = TOPIC,
                offset = record.offset.0,
                "a request to delete cannot be read and is not carried out: publish it again with `subjects` and `cut`"
            ),
        }
    }
}

/// See the module.
pub(crate) struct Listener {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) requests: Requests,
    pub(crate) reports: Reports,
    /// How often it is looked whether the topic is there.
    pub(crate) look_every: Duration,
}

impl Listener {
    /// Reads what is there, and goes on with what comes: that is reported. What was there is given back.
    ///
    /// # Errors
    /// The bus failed.
    pub(crate) fn start(self) -> Result<Vec<Delivered>> {
        let Some(topic) = self.topic()? else {
            self.go_on(None, Offset(0));
            return Ok(Vec::new());
        };
        let there = self.bus.offsets(topic)?.into_iter().find(|at| at.partition == 0);
        let (mut at, end) = there.map_or((Offset(0), Offset(0)), |there| (there.log_start, there.end));
        let mut consumer = self.bus.consumer(topic, &[(0, at)])?;
        let mut pieces = Vec::new();
        while at < end {
            at = self.poll(&mut *consumer, at, |piece| pieces.push(piece))?;
        }
        self.go_on(Some(topic), at);
        Ok(pieces)
    }

    fn topic(&self) -> Result<Option<TopicId>> {
        Ok(self.bus.topic(TOPIC)?.map(|topic| topic.id))
    }

    fn go_on(self, topic: Option<TopicId>, at: Offset) {
        let reports = self.reports.clone();
        spawn("deletions", &reports, move || self.run(topic, at));
    }

    fn run(self, mut topic: Option<TopicId>, mut at: Offset) -> Result<()> {
        let mut consumer = None;
        while !self.reports.is_halted() {
            match self.turn(&mut topic, &mut consumer, &mut at) {
                Ok(()) => {}
                Err(error) if error.response() == Response::Retry => {
                    tracing::warn!(topic = TOPIC, %error, "bus did not answer, retrying");
                    consumer = None;
                    std::thread::park_timeout(self.look_every);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn turn(&self, topic: &mut Option<TopicId>, consumer: &mut Option<Box<dyn Consumer>>, at: &mut Offset) -> Result<()> {
        if topic.is_none() {
            *topic = self.topic()?;
        }
        let Some(topic) = topic else {
            std::thread::park_timeout(self.look_every);
            return Ok(());
        };
        let consumer = match consumer {
            Some(consumer) => consumer,
            None => consumer.insert(self.bus.consumer(*topic, &[(0, *at)])?),
        };
        *at = self.poll(&mut **consumer, *at, |piece| self.reports.send(Report::Delivered(piece)))?;
        Ok(())
    }

    /// Each request is a piece of its own: whatever was bound before, a piece lies on one side of it.
    fn poll(&self, consumer: &mut dyn Consumer, mut at: Offset, mut tell: impl FnMut(Delivered)) -> Result<Offset> {
        for batch in consumer.poll(POLL_WAIT)? {
            for record in &batch.records {
                self.requests.take(record);
                let upto = record.offset.next();
                let (bytes, max_time, end) = (record.bytes(), EventTime::MIN, batch.end);
                tell(Delivered { feed: Feed::REQUESTS, from: at, upto, records: 1, bytes, max_time, end });
                at = upto;
            }
            at = at.max(batch.position);
        }
        Ok(at)
    }
}
