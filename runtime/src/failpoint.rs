//! Every durable step of a pipeline has a name, and a test can crash or stop the process right before or after it.
//!
//! All calls that make something durable go through [`durable`]. A test enumerates [`Step::ALL`] and crashes at each;
//! another reads the sources and fails when a durable call stands outside.
//!
//! `DISTRIBUTARY_FAILPOINT=journal_append.after:3:crash` kills the process (as `kill -9` would) behind the third
//! journal append; the action `stop` stops it (SIGSTOP) until somebody continues it, as a long pause would.
//! `DISTRIBUTARY_PHASE_FILE` names a file of one byte in which the process keeps the step it is in: it outlives the
//! process, so that a chaos test can tell where its kill landed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// The durable steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// The topics that a pipeline owns are created.
    TopicCreate = 1,
    /// An incarnation enters the journal.
    JournalStart,
    /// Bindings enter the journal.
    JournalAppend,
    /// A lane is fenced with the token of an incarnation.
    LaneFence,
    /// Results of a lane are sent ahead of their commit; nobody sees them yet.
    LanePrepare,
    /// Results and marker of a lane become visible.
    LaneCommit,
    /// A state object is written.
    StatePut,
    /// The manifest of a checkpoint is written.
    ManifestPut,
    /// The checkpoint enters the journal.
    JournalCheckpoint,
    /// The retirement of an old checkpoint enters the journal.
    JournalRetire,
    /// Objects of a retired checkpoint are deleted.
    StateDelete,
    /// The journal is truncated.
    JournalTruncate,
    /// Group offsets are published.
    GroupCommit,
    /// Answers to the questions of a look-up are written down.
    AnswerPublish,
}

impl Step {
    /// The durable steps of every pipeline. One with look-ups has [`Step::AnswerPublish`] as well.
    pub const ALL: [Self; 13] = [
        Self::TopicCreate,
        Self::JournalStart,
        Self::JournalAppend,
        Self::LaneFence,
        Self::LanePrepare,
        Self::LaneCommit,
        Self::StatePut,
        Self::ManifestPut,
        Self::JournalCheckpoint,
        Self::JournalRetire,
        Self::StateDelete,
        Self::JournalTruncate,
        Self::GroupCommit,
    ];

    /// Its name in `DISTRIBUTARY_FAILPOINT`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TopicCreate => "topic_create",
            Self::JournalStart => "journal_start",
            Self::JournalAppend => "journal_append",
            Self::LaneFence => "lane_fence",
            Self::LanePrepare => "lane_prepare",
            Self::LaneCommit => "lane_commit",
            Self::StatePut => "state_put",
            Self::ManifestPut => "manifest_put",
            Self::JournalCheckpoint => "journal_checkpoint",
            Self::JournalRetire => "journal_retire",
            Self::StateDelete => "state_delete",
            Self::JournalTruncate => "journal_truncate",
            Self::GroupCommit => "group_commit",
            Self::AnswerPublish => "answer_publish",
        }
    }

    /// The step whose number stands in a phase file.
    #[must_use]
    pub fn from_phase(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().chain([Self::AnswerPublish]).find(|s| *s as u8 == byte & !RECOVERING)
    }
}

/// Set in the phase byte from the start of the process until the pipeline is live.
pub const RECOVERING: u8 = 0x80;

/// Does a durable step.
pub fn durable<T>(step: Step, act: impl FnOnce() -> T) -> T {
    hit(step, "before");
    let before = enter(step);
    let result = act();
    leave(before);
    hit(step, "after");
    result
}

#[derive(Clone, Copy, PartialEq)]
enum Action {
    Crash,
    Stop,
}

struct Armed {
    point: String,
    action: Action,
    /// Passes still to let through.
    left: AtomicU32,
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    ARMED
        .get_or_init(|| {
            let text = std::env::var("DISTRIBUTARY_FAILPOINT").ok()?;
            let mut parts = text.split(':');
            let point = parts.next()?.to_string();
            let nth = parts.next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(1).max(1);
            let action = if parts.next() == Some("stop") { Action::Stop } else { Action::Crash };
            Some(Armed { point, action, left: AtomicU32::new(nth) })
        })
        .as_ref()
}

fn hit(step: Step, side: &str) {
    let Some(armed) = armed() else { return };
    if armed.point.strip_prefix(step.name()).and_then(|r| r.strip_prefix('.')) != Some(side) {
        return;
    }
    if armed.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) == Ok(1) {
        signal_self(if armed.action == Action::Crash { libc::SIGKILL } else { libc::SIGSTOP });
    }
}

#[allow(unsafe_code, reason = "raising a signal has no safe form")]
fn signal_self(signal: libc::c_int) {
    // SAFETY: `kill` takes plain integers and `getpid` cannot fail.
    unsafe {
        libc::kill(libc::getpid(), signal);
    }
}

/// The phase byte lives in a shared mapping, so that it is there after a `kill -9`.
fn phase() -> Option<&'static AtomicU8> {
    static PHASE: OnceLock<Option<&'static AtomicU8>> = OnceLock::new();
    *PHASE.get_or_init(|| {
        let path = std::env::var_os("DISTRIBUTARY_PHASE_FILE")?;
        let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).ok()?;
        file.set_len(1).ok()?;
        map_byte(&file)
    })
}

#[allow(unsafe_code, reason = "a shared mapping has no safe form")]
fn map_byte(file: &std::fs::File) -> Option<&'static AtomicU8> {
    // SAFETY: the mapping is leaked, so it lives as long as the process; it is one byte and only touched as an atomic.
    let map = Box::leak(Box::new(unsafe { memmap2::MmapMut::map_mut(file) }.ok()?));
    Some(unsafe { AtomicU8::from_ptr(map.as_mut_ptr()) })
}

/// Tells a chaos test whether the process is still recovering.
pub fn set_recovering(recovering: bool) {
    if let Some(phase) = phase() {
        phase.store(if recovering { RECOVERING } else { 0 }, Ordering::SeqCst);
    }
}

/// Several threads may be in a durable step at once: a commit is shown before all others.
static IN_COMMIT: AtomicU64 = AtomicU64::new(0);

fn enter(step: Step) -> Option<Step> {
    let phase = phase()?;
    if step == Step::LaneCommit {
        IN_COMMIT.fetch_add(1, Ordering::SeqCst);
    }
    if step == Step::LaneCommit || IN_COMMIT.load(Ordering::SeqCst) == 0 {
        let recovering = phase.load(Ordering::SeqCst) & RECOVERING;
        phase.store(recovering | step as u8, Ordering::SeqCst);
    }
    Some(step)
}

fn leave(step: Option<Step>) {
    let (Some(step), Some(phase)) = (step, phase()) else { return };
    if step == Step::LaneCommit {
        IN_COMMIT.fetch_sub(1, Ordering::SeqCst);
    }
    if IN_COMMIT.load(Ordering::SeqCst) == 0 {
        phase.fetch_and(RECOVERING, Ordering::SeqCst);
    }
}
