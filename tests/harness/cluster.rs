//! The brokers of a cluster on this machine, each a process that can be killed and started again.
//!
//! `./dev` lays them out: each has a folder with its settings, its process id and a script `run` that becomes the broker.

use crate::Result;
use distributary_runtime::time::monotonic;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a question may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a process may take to go once it is killed.
const END_MAX: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// All brokers.
pub struct Cluster {
    nodes: Vec<Node>,
    asker: BaseConsumer,
}

/// A broker: its folder, and its process if it was started here.
struct Node {
    dir: PathBuf,
    child: Option<Child>,
}

/// A partition and who has it.
#[derive(Clone, Debug)]
pub struct Held {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Index of the node that leads it, if one does.
    pub leader: Option<usize>,
    /// Copies that are not up to date.
    pub behind: usize,
}

impl Cluster {
    /// The cluster whose nodes lie in the folders 1, 2, 3 of `dir`, all running.
    ///
    /// # Errors
    /// There is none.
    pub fn open(dir: &Path, brokers: &str) -> Result<Self> {
        let of = |number: usize| Node { dir: dir.join(number.to_string()), child: None };
        let nodes: Vec<Node> = (1..).map(of).take_while(|node| node.dir.join("run").exists()).collect();
        if nodes.is_empty() {
            return Err(format!("{} holds no brokers", dir.display()).into());
        }
        let asker = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("reconnect.backoff.max.ms", "1000")
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create()?;
        Ok(Self { nodes, asker })
    }

    /// How many there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Every partition, the cluster's own topics included.
    ///
    /// # Errors
    /// No broker answers.
    pub fn partitions(&self) -> Result<Vec<Held>> {
        let metadata = self.asker.fetch_metadata(None, ANSWER)?;
        let held = |topic: &rdkafka::metadata::MetadataTopic| {
            let name = topic.name().to_string();
            let partition = move |p: &rdkafka::metadata::MetadataPartition| Held {
                topic: name.clone(),
                partition: p.id(),
                leader: usize::try_from(p.leader() - 1).ok(),
                behind: p.replicas().len().saturating_sub(p.isr().len()),
            };
            topic.partitions().iter().map(partition).collect::<Vec<_>>()
        };
        Ok(metadata.topics().iter().flat_map(held).collect())
    }

    /// Whether every partition has a leader and all its copies.
    ///
    /// # Errors
    /// No broker answers.
    pub fn is_whole(&self) -> Result<bool> {
        let partitions = self.partitions()?;
        Ok(!partitions.is_empty() && partitions.iter().all(|p| p.leader.is_some() && p.behind == 0))
    }

    /// The node that coordinates the transactions of an id, or the offsets of a group, which stand in this topic.
    ///
    /// # Errors
    /// No broker answers.
    pub fn coordinator(&self, topic: &str, id: &str) -> Result<Option<usize>> {
        let partitions: Vec<Held> = self.partitions()?.into_iter().filter(|p| p.topic == topic).collect();
        let count = i32::try_from(partitions.len())?.max(1);
        let of_id = (java_hash(id) & i32::MAX) % count;
        Ok(partitions.iter().find(|p| p.partition == of_id).and_then(|p| p.leader))
    }

    /// Kills a node, as `kill -9` does.
    ///
    /// # Errors
    /// It does not end.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        self.nodes[node].signal(libc::SIGKILL)?;
        self.nodes[node].await_end()
    }

    /// Starts a node that was killed.
    ///
    /// # Errors
    /// Its process cannot be made.
    pub fn start(&mut self, node: usize) -> Result<()> {
        let node = &mut self.nodes[node];
        let run = Command::new(node.dir.join("run")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        node.child = Some(run?);
        Ok(())
    }

    /// Makes all nodes stand still.
    ///
    /// # Errors
    /// One of them has no process.
    pub fn pause(&self) -> Result<()> {
        self.nodes.iter().try_for_each(|node| node.signal(libc::SIGSTOP))
    }

    /// Makes all nodes go on.
    ///
    /// # Errors
    /// One of them has no process.
    pub fn resume(&self) -> Result<()> {
        self.nodes.iter().try_for_each(|node| node.signal(libc::SIGCONT))
    }
}

impl Node {
    fn pid(&self) -> Result<i32> {
        Ok(std::fs::read_to_string(self.dir.join("pid"))?.trim().parse()?)
    }

    #[allow(unsafe_code, reason = "sending a signal has no safe form")]
    fn signal(&self, signal: i32) -> Result<()> {
        let pid = self.pid()?;
        let of_ours = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))?.contains("kafka.Kafka");
        if !of_ours {
            return Err(format!("process {pid} of {} is no broker", self.dir.display()).into());
        }
        // SAFETY: `kill` takes plain integers.
        let done = unsafe { libc::kill(pid, signal) };
        if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
    }

    fn await_end(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.wait()?;
            return Ok(());
        }
        // Another process's child: gone, or waiting to be asked how it ended.
        let (pid, began) = (self.pid()?, monotonic());
        while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            if began.elapsed() > END_MAX {
                return Err(format!("broker {pid} does not end").into());
            }
            std::thread::park_timeout(LOOK);
        }
        Ok(())
    }
}

/// Java's hash of a string; by it the brokers share out ids and groups.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}
