//! What can happen to a request on its way to Kafka.

use crate::random::Random;
use std::time::Duration;

/// The kinds of requests that are harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
#[allow(missing_docs, reason = "Kafka's own names")]
pub enum Kind {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    FindCoordinator = 10,
    InitProducerId = 22,
    AddPartitionsToTxn = 24,
    EndTxn = 26,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// It is held, and everything behind it on its connection.
    DelayRequest,
    /// Its answer is held, and everything behind it.
    DelayAnswer,
    /// The connection goes before the broker has seen it.
    CutBefore,
    /// The broker does it; then the connection goes instead of the answer.
    CutBehind,
    /// The client loses the connection; the broker gets the request later, when the client may have sent it again.
    Stray,
    /// The broker gets it twice; the client gets one answer.
    Twice,
}

/// One harm to one request.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Of this kind.
    pub kind: Kind,
    /// So many of the kind go by first.
    pub spared: u64,
    /// What happens.
    pub harm: Harm,
    /// How long something is held.
    pub delay: Duration,
}

impl Fault {
    /// Any harm to any kind; those that make results visible come more often.
    pub fn any(random: &mut Random) -> Self {
        const KINDS: [Kind; 12] = [
            Kind::EndTxn,
            Kind::EndTxn,
            Kind::EndTxn,
            Kind::AddPartitionsToTxn,
            Kind::AddPartitionsToTxn,
            Kind::Produce,
            Kind::Produce,
            Kind::InitProducerId,
            Kind::Fetch,
            Kind::ListOffsets,
            Kind::Metadata,
            Kind::FindCoordinator,
        ];
        const HARMS: [Harm; 6] =
            [Harm::DelayRequest, Harm::DelayAnswer, Harm::CutBefore, Harm::CutBehind, Harm::Stray, Harm::Twice];
        let kind = KINDS[random.below(KINDS.len() as u64) as usize];
        let harm = HARMS[random.below(HARMS.len() as u64) as usize];
        let delay = Duration::from_millis(match random.below(20) {
            0..=5 => random.below(200),
            // Around the pause after which librdkafka sends a request again.
            6..=13 => 150 + random.below(200),
            14..=18 => random.below(4_000),
            // Longer than a transaction may stay open.
            _ => 10_500 + random.below(2_000),
        });
        Self { kind, spared: random.below(4), harm, delay }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, spared, harm, delay } = self;
        write!(f, "{harm:?} {kind:?} after {spared} others, {} ms", delay.as_millis())
    }
}
