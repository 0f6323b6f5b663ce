//! Topics: made with the settings of their spec, known by the ids the cluster gives them.
//!
//! The protocol that librdkafka speaks names topics by name only. So each id that was seen is kept with its name, and a
//! question by id first asks whether the name still has that id.

use super::client::{ANSWER, Asker, KafkaSettings, MESSAGE_BYTES_MAX, Voice, learn};
use super::fault::{LOOK, refused, unavailable, until, wait};
use super::ffi::{self, Described};
use crate::rules::{check_growth, check_name, check_partitions};
use distributary_runtime::bus::{BusError, Topic, TopicForm, TopicId, TopicSpec};
use distributary_runtime::time::monotonic;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How old an answer may be for a write: a topic that was re-created since would be written to under its old name.
const FRESH: Duration = Duration::from_secs(5);

/// Brokers learn of a topic one after the other. One that was first seen so recently and is missing in an answer is asked for
/// again: the answer was that of a broker which does not know it yet.
const SPREAD: Duration = Duration::from_secs(5);

/// How long the controller may take to answer before it is asked who it is now.
const CONTROLLER: Duration = Duration::from_secs(1);

/// Whatever is asked of a topic, the answer names the controller; this one need not exist.
pub(super) const ANY_TOPIC: &str = "distributary";

/// What is known of a topic.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) form: TopicForm,
    pub(super) partitions: u32,
    asked_at: Instant,
}

pub(super) struct Topics {
    settings: KafkaSettings,
    asker: Arc<Asker>,
    admin: AdminClient<Voice>,
    known: Mutex<BTreeMap<TopicId, Known>>,
    /// When each name was first seen.
    first_seen: Mutex<BTreeMap<String, Instant>>,
}

impl Topics {
    pub(super) fn new(settings: KafkaSettings, asker: Arc<Asker>) -> Result<Self, BusError> {
        let admin = settings.admin()?;
        Ok(Self { settings, asker, admin, known: Mutex::default(), first_seen: Mutex::default() })
    }

    pub(super) fn create(&self, spec: &TopicSpec) -> Result<bool, BusError> {
        self.create_with(spec, &[])
    }

    /// As [`Topics::create`], with further settings of the topic.
    pub(super) fn create_with(&self, spec: &TopicSpec, more: &[(&str, &str)]) -> Result<bool, BusError> {
        check_name(&spec.name)?;
        check_partitions(&spec.name, spec.partitions)?;
        let what = format!("creating topic `{}`", spec.name);
        let config = self.config(spec);
        let mut topic = NewTopic::new(
            &spec.name,
            spec.partitions as i32,
            TopicReplication::Fixed(self.settings.replication_factor.map_or(-1, i32::from)),
        );
        topic.config.extend(config.iter().map(|(name, value)| (*name, value.as_str())));
        topic.config.extend(more);
        let created = match only(&what, wait(self.admin(ANY_TOPIC)?.create_topics([&topic], &options())))? {
            Ok(()) => true,
            Err(RDKafkaErrorCode::TopicAlreadyExists) => false,
            Err(code) => return Err(refused(&what, code)),
        };
        // Also when somebody else has just created it.
        until(&what, || self.find(&spec.name))?;
        Ok(created)
    }

    fn config(&self, spec: &TopicSpec) -> Vec<(&'static str, String)> {
        let or_ever = |bound: Option<u64>| bound.map_or("-1".to_string(), |bound| bound.to_string());
        let mut config = vec![
            ("cleanup.policy", if spec.form == TopicForm::Upsert { "compact" } else { "delete" }.to_string()),
            ("retention.ms", or_ever(spec.retention_ms)),
            ("retention.bytes", or_ever(spec.retention_bytes)),
            ("max.message.bytes", MESSAGE_BYTES_MAX.to_string()),
            ("message.timestamp.type", "CreateTime".to_string()),
        ];
        config.extend(self.settings.min_insync_replicas.map(|n| ("min.insync.replicas", n.to_string())));
        config
    }

    pub(super) fn topic(&self, name: &str) -> Result<Option<Topic>, BusError> {
        Ok(self.with_specs(self.find(name)?.into_iter().collect())?.pop())
    }

    pub(super) fn topics(&self) -> Result<Vec<Topic>, BusError> {
        let names = self.names()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut topics = self.with_specs(self.describe(&names)?)?;
        topics.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        Ok(topics)
    }

    pub(super) fn delete(&self, name: &str) -> Result<(), BusError> {
        let what = format!("deleting topic `{name}`");
        match only(&what, wait(self.admin(ANY_TOPIC)?.delete_topics(&[name], &options())))? {
            Ok(()) => {}
            Err(RDKafkaErrorCode::UnknownTopicOrPartition) => return Err(BusError::NoTopic(name.to_string())),
            Err(code) => return Err(refused(&what, code)),
        }
        self.lock().retain(|_, known| known.name != name);
        self.first_seen().remove(name);
        until(&what, || Ok(self.describe(&[name])?.is_empty().then_some(())))
    }

    pub(super) fn add_partitions(&self, name: &str, partitions: u32) -> Result<(), BusError> {
        check_partitions(name, partitions)?;
        let present = self.find(name)?.ok_or_else(|| BusError::NoTopic(name.to_string()))?.partitions;
        check_growth(name, present, partitions)?;
        if present == partitions {
            return Ok(());
        }
        let what = format!("adding partitions to `{name}`");
        let wanted = NewPartitions::new(name, partitions as usize);
        match only(&what, wait(self.admin(ANY_TOPIC)?.create_partitions([&wanted], &options())))? {
            // Somebody else was faster.
            Ok(()) | Err(RDKafkaErrorCode::InvalidPartitions) => {}
            Err(code) => return Err(refused(&what, code)),
        }
        until(&what, || Ok(self.find(name)?.filter(|topic| topic.partitions >= partitions).map(|_| ())))
    }

    /// The topic of this id as it is now.
    pub(super) fn by_id(&self, id: TopicId) -> Result<Known, BusError> {
        if !self.lock().contains_key(&id) {
            self.topics()?;
        }
        let Some(known) = self.lock().get(&id).cloned() else { return Err(BusError::TopicChanged { topic: id }) };
        match self.find(&known.name)? {
            Some(now) if now.id == id => {
                let known = Known { partitions: now.partitions, asked_at: monotonic(), ..known };
                self.lock().insert(id, known.clone());
                Ok(known)
            }
            _ => {
                self.lock().remove(&id);
                Err(BusError::TopicChanged { topic: id })
            }
        }
    }

    /// The topic of this id as it was a moment ago, or, if that does not have so many partitions, as it is now.
    pub(super) fn recent(&self, id: TopicId, partitions: u32) -> Result<Known, BusError> {
        let known = self.lock().get(&id).cloned();
        match known {
            Some(known) if known.partitions >= partitions && known.asked_at.elapsed() < FRESH => Ok(known),
            _ => self.by_id(id),
        }
    }

    /// The id and the partitions of a name.
    pub(super) fn find(&self, name: &str) -> Result<Option<Described>, BusError> {
        loop {
            let found = self.describe(&[name])?.pop();
            let mut first_seen = self.first_seen();
            match (&found, first_seen.get(name)) {
                (Some(_), _) => _ = first_seen.entry(name.to_string()).or_insert_with(monotonic),
                (None, Some(at)) if at.elapsed() < SPREAD => {
                    drop(first_seen);
                    std::thread::park_timeout(LOOK);
                    continue;
                }
                (None, _) => _ = first_seen.remove(name),
            }
            return Ok(found);
        }
    }

    /// librdkafka sends what only an administrator asks to the broker that an earlier answer named as the controller. If that
    /// one has died it waits for it; every new answer names a broker that is alive, and who leads the topic now.
    pub(super) fn admin(&self, topic: &str) -> Result<&AdminClient<Voice>, BusError> {
        learn(self.admin.inner(), topic).map_err(|e| unavailable("reaching a broker", e))?;
        Ok(&self.admin)
    }

    /// By a question that goes to the controller too, see [`Topics::admin`].
    fn describe(&self, names: &[&str]) -> Result<Vec<Described>, BusError> {
        let start = monotonic();
        loop {
            match ffi::describe(&self.asker, names, CONTROLLER) {
                Err(RDKafkaErrorCode::OperationTimedOut) if start.elapsed() < ANSWER => {
                    learn(self.asker.client(), ANY_TOPIC).map_err(|e| unavailable("reaching a broker", e))?;
                }
                result => return result.map_err(|code| unavailable("looking up topics", code)),
            }
        }
    }

    /// The cluster's own topics are nobody's business.
    fn names(&self) -> Result<Vec<String>, BusError> {
        let metadata = self.asker.fetch_metadata(None, ANSWER).map_err(|e| unavailable("listing topics", e))?;
        Ok(metadata.topics().iter().map(|t| t.name().to_string()).filter(|name| !name.starts_with("__")).collect())
    }

    fn with_specs(&self, described: Vec<Described>) -> Result<Vec<Topic>, BusError> {
        let resources: Vec<_> = described.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
        if resources.is_empty() {
            return Ok(Vec::new());
        }
        let what = "reading the settings of topics";
        let configs = wait(self.admin(ANY_TOPIC)?.describe_configs(&resources, &options())).map_err(|e| unavailable(what, e))?;
        let mut topics = Vec::new();
        for (topic, config) in described.into_iter().zip(configs) {
            match config {
                Ok(config) => topics.push(Topic { id: topic.id, spec: spec(&topic, &config) }),
                // Deleted since.
                Err(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
                Err(code) => return Err(unavailable(what, code)),
            }
        }
        let mut known = self.lock();
        for topic in &topics {
            let TopicSpec { name, form, partitions, .. } = topic.spec.clone();
            known.insert(topic.id, Known { name, form, partitions, asked_at: monotonic() });
        }
        Ok(topics)
    }

    fn first_seen(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Instant>> {
        self.first_seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TopicId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spec(topic: &Described, config: &ConfigResource) -> TopicSpec {
    let text = |name: &str| config.get(name).and_then(|entry| entry.value.as_deref());
    let bound = |name: &str| text(name).and_then(|text| text.parse().ok());
    let compacted = text("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
    TopicSpec {
        name: topic.name.clone(),
        partitions: topic.partitions,
        form: if compacted { TopicForm::Upsert } else { TopicForm::Append },
        retention_ms: bound("retention.ms"),
        retention_bytes: bound("retention.bytes"),
    }
}

pub(super) fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
}

/// The result for the only topic of a request.
fn only(what: &str, results: KafkaResult<Vec<TopicResult>>) -> Result<Result<(), RDKafkaErrorCode>, BusError> {
    match results.map_err(|e| unavailable(what, e))?.pop() {
        Some(Ok(_)) => Ok(Ok(())),
        Some(Err((_, code))) => Ok(Err(code)),
        None => Err(unavailable(what, "no answer")),
    }
}
