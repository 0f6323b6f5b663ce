//! Published resume offsets: what Kafka's own tools show as the lag of a group.

use super::client::{ANSWER, Asker, KafkaSettings};
use super::fault::unavailable;
use distributary_runtime::bus::{BusError, Offset};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset as Position, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One client a group: Kafka takes the offsets of a group from its name.
pub(super) struct Groups {
    settings: KafkaSettings,
    asker: Arc<Asker>,
    clients: Mutex<BTreeMap<String, Arc<Asker>>>,
}

impl Groups {
    pub(super) fn new(settings: KafkaSettings, asker: Arc<Asker>) -> Self {
        Self { settings, asker, clients: Mutex::default() }
    }

    pub(super) fn commit(&self, group: &str, topic: &str, positions: &[(u32, Offset)]) -> Result<(), BusError> {
        let failed = |e| unavailable(&format!("publishing the offsets of group `{group}`"), e);
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, resume) in positions {
            list.add_partition_offset(topic, *partition as i32, Position::Offset(resume.0 as i64)).map_err(failed)?;
        }
        if positions.is_empty() {
            return Ok(());
        }
        self.client(group)?.commit(&list, CommitMode::Sync).map_err(failed)
    }

    pub(super) fn read(&self, group: &str, topic: &str, partitions: u32) -> Result<Vec<(u32, Offset)>, BusError> {
        let failed = |e| unavailable(&format!("reading the offsets of group `{group}`"), e);
        let mut list = TopicPartitionList::with_capacity(partitions as usize);
        for partition in 0..partitions {
            list.add_partition(topic, partition as i32);
        }
        let list = self.client(group)?.committed_offsets(list, ANSWER).map_err(failed)?;
        let published = |partition: u32| match list.find_partition(topic, partition as i32)?.offset() {
            Position::Offset(offset) => Some((partition, Offset(u64::try_from(offset).ok()?))),
            _ => None,
        };
        Ok((0..partitions).filter_map(published).collect())
    }

    pub(super) fn names(&self) -> Result<Vec<String>, BusError> {
        let list = self.asker.fetch_group_list(None, ANSWER).map_err(|e| unavailable("listing groups", e))?;
        let mut names: Vec<String> = list.groups().iter().map(|group| group.name().to_string()).collect();
        names.sort();
        Ok(names)
    }

    fn client(&self, group: &str) -> Result<Arc<Asker>, BusError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(group) {
            return Ok(client.clone());
        }
        let client = Arc::new(self.settings.group(group)?);
        clients.insert(group.to_string(), client.clone());
        Ok(client)
    }
}
