//! Goal: what the journal says does not depend on who else wrote into it, nor on how much of its front is gone.
//! Method: random journals of several incarnations, zombies among them, against a model that knows who owned it when;
//! truncated wherever upkeep would truncate.

use super::*;
use crate::binding::{Control, Range, SourcePartition};
use crate::bus::TopicId;
use crate::checkpoint::KEPT;
use crate::time::EventTime;
use proptest::prelude::*;

const TOPIC: TopicId = TopicId([7; 16]);

fn feed(partition: u32) -> Feed {
    Feed { source: 0, partition: SourcePartition::Bus { topic: TOPIC, partition } }
}

fn binding(epoch: u64, records: u64) -> Binding {
    let range = Range { feed: feed(0), from: Offset(0), upto: Offset(records), records, max_time: EventTime(5) };
    Binding {
        epoch: Epoch(epoch),
        closed_at: WallTime(1_000 + epoch as i64),
        watermark: EventTime(epoch as i64),
        ranges: if records > 0 { vec![range] } else { Vec::new() },
        lifts: Vec::new(),
        controls: if records % 5 == 1 { vec![Control::Checkpoint] } else { Vec::new() },
    }
}

fn start(generation: u32) -> Fact {
    let positions = vec![(feed(0), Offset(3))];
    Fact::Start(Start { generation, layout: layout(7), at: WallTime(1), positions, accepted_gaps: Vec::new() })
}

fn layout(fingerprint: u128) -> Layout {
    Layout { fingerprint, lanes: 1, ..Layout::default() }
}

fn checkpoint(epoch: u64, generation: u32) -> Checkpoint {
    Checkpoint { epoch: Epoch(epoch), generation, layout: layout(7), manifest: format!("manifest-{epoch}"), checksum: epoch }
}

/// What happens to a journal. A number that means nothing at that point is taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// An incarnation begins.
    Start { anew: bool },
    /// The owner binds an epoch.
    Bind { records: u64 },
    /// The owner completes the checkpoint of an epoch of the generation, so many epochs ago: bound by itself, or replayed.
    Checkpoint { ago: u64 },
    /// The owner retires all but the newest two.
    Retire,
    /// Somebody who was the owner once goes on writing.
    Zombie { who: usize, epoch: u64 },
    /// A request of the owner that was answered by its repetition arrives after all.
    Again { which: usize },
    /// Upkeep truncates.
    Truncate,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        1 => (0..6_u8).prop_map(|n| Op::Start { anew: n == 0 }),
        6 => (0..9_u64).prop_map(|records| Op::Bind { records }),
        3 => (0..4_u64).prop_map(|ago| Op::Checkpoint { ago }),
        2 => Just(Op::Retire),
        2 => (0..9_usize, 0..40_u64).prop_map(|(who, epoch)| Op::Zombie { who, epoch }),
        2 => (0..99_usize).prop_map(|which| Op::Again { which }),
        1 => Just(Op::Truncate),
    ];
    prop::collection::vec(op, 0..60)
}

/// The journal, and what truly happened.
#[derive(Default)]
struct Model {
    entries: Vec<(Offset, Vec<u8>)>,
    starts: u32,
    generation: u32,
    since: u64,
    bound: BTreeMap<u64, Binding>,
    checkpoints: Vec<u64>,
    zombies: usize,
    /// Where upkeep would have truncated last.
    cut: Offset,
    oldest: u64,
}

impl Model {
    fn write(&mut self, who: u32, fact: Fact) {
        let at = Offset(10 + 2 * self.entries.len() as u64);
        self.entries.push((at, Entry { incarnation: Incarnation(u128::from(who)), fact }.encode()));
    }

    fn last(&self) -> u64 {
        self.bound.keys().next_back().copied().unwrap_or(0)
    }

    fn run(ops: &[Op]) -> Self {
        let mut model = Self::default();
        model.act(Op::Start { anew: true });
        ops.iter().for_each(|op| model.act(*op));
        model
    }

    fn act(&mut self, op: Op) {
        let next = self.last() + 1;
        match op {
            Op::Start { anew } => {
                self.starts += 1;
                if anew {
                    (self.generation, self.since) = (self.generation + 1, next - 1);
                    self.checkpoints.clear();
                }
                self.write(self.starts, start(self.generation));
            }
            Op::Bind { records } => {
                self.bound.insert(next, binding(next, records));
                self.write(self.starts, Fact::Binding(binding(next, records)));
            }
            Op::Checkpoint { ago } => {
                let Some(epoch) = self.last().checked_sub(ago).filter(|e| *e > self.since) else { return };
                if self.checkpoints.last().is_none_or(|newest| *newest < epoch) {
                    self.checkpoints.push(epoch);
                    self.write(self.starts, Fact::Checkpoint(checkpoint(epoch, self.generation)));
                }
            }
            Op::Retire => {
                while self.checkpoints.len() > KEPT {
                    let epoch = Epoch(self.checkpoints.remove(0));
                    self.write(self.starts, Fact::Retire { epoch });
                }
            }
            Op::Zombie { who, epoch } => {
                if self.starts > 1 {
                    let who = 1 + who as u32 % (self.starts - 1);
                    let fact = match epoch % 3 {
                        0 => Fact::Binding(binding(epoch, epoch)),
                        1 => Fact::Checkpoint(checkpoint(epoch, 1)),
                        _ => Fact::Retire { epoch: Epoch(epoch) },
                    };
                    self.write(who, fact);
                    self.zombies += 1;
                }
            }
            Op::Again { which } => {
                let owner = Incarnation(u128::from(self.starts));
                let entries = self.entries.iter().map(|(at, bytes)| Entry::decode(*at, bytes).unwrap());
                let counted = |e: &Entry| matches!(e.fact, Fact::Binding(_) | Fact::Checkpoint(_)) && e.incarnation == owner;
                let own: Vec<_> = entries.filter(counted).collect();
                if !own.is_empty() {
                    self.write(self.starts, own[which % own.len()].fact.clone());
                    self.zombies += 1;
                }
            }
            Op::Truncate => {
                let history = History::read(&self.entries).unwrap();
                if let Some(oldest) = history.checkpoints.first()
                    && history.checkpoints.len() <= KEPT
                    && let Some(before) = history.needed_from(oldest.epoch)
                {
                    (self.cut, self.oldest) = (self.cut.max(before), oldest.epoch.0);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn only_the_owners_entries_count(ops in ops()) {
        let model = Model::run(&ops);
        let history = History::read(&model.entries).unwrap();
        prop_assert_eq!(history.owner.unwrap().0, Incarnation(u128::from(model.starts)));
        prop_assert_eq!((history.generation, history.since), (model.generation, Epoch(model.since)));
        prop_assert_eq!(history.last_epoch, Epoch(model.last()));
        prop_assert_eq!(history.ignored, model.zombies);
        let bound: Vec<_> = history.bindings.values().map(|(_, b)| b.clone()).collect();
        let expected: Vec<_> = model.bound.range(model.since + 1..).map(|(_, b)| b.clone()).collect();
        prop_assert_eq!(&bound, &expected);
        prop_assert_eq!(history.bindings_after(Epoch(model.since)).unwrap(), expected);
        let checkpoints: Vec<_> = history.checkpoints.iter().map(|c| c.epoch.0).collect();
        prop_assert_eq!(&checkpoints, &model.checkpoints);
    }

    #[test]
    fn what_is_truncated_is_not_missed(ops in ops()) {
        let model = Model::run(&ops);
        let whole = History::read(&model.entries).unwrap();
        let kept: Vec<_> = model.entries.iter().filter(|(at, _)| *at >= model.cut).cloned().collect();
        let rest = History::read(&kept).unwrap();
        prop_assert_eq!((rest.generation, &rest.layout), (whole.generation, &whole.layout));
        prop_assert_eq!((rest.last_epoch, rest.last_closed_at), (whole.last_epoch, whole.last_closed_at));
        prop_assert_eq!(&rest.checkpoints, &whole.checkpoints);
        for request in [StartRequest::Resume, StartRequest::FromZero] {
            prop_assert_eq!(open(&rest, 7, request), open(&whole, 7, request));
        }
        for checkpoint in &rest.checkpoints {
            prop_assert_eq!(rest.bindings_after(checkpoint.epoch).unwrap(), whole.bindings_after(checkpoint.epoch).unwrap());
        }
        if model.checkpoints.is_empty() {
            prop_assert_eq!((rest.since, rest.positions), (whole.since, whole.positions));
        }
        if kept.len() < model.entries.len() {
            let gone = model.entries.iter().find(|(at, _)| *at == model.cut).unwrap();
            let first = Entry::decode(gone.0, &gone.1).unwrap();
            let counts = matches!(first.fact, Fact::Binding(_) | Fact::Checkpoint(_));
            prop_assert!(counts, "cut in front of {first:?}");
        }
    }

    #[test]
    fn a_flipped_bit_is_damage(records in 0..9_u64, bit in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let entry = Entry { incarnation: Incarnation(u128::MAX), fact: Fact::Binding(binding(300, records)) };
        let bytes = entry.encode();
        prop_assert_eq!(Entry::decode(Offset(0), &bytes).unwrap(), entry);
        let bit = bit.index(bytes.len() * 8);
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        for bad in [&flipped[..], &bytes[..cut.index(bytes.len())]] {
            let damaged = matches!(Entry::decode(Offset(0), bad), Err(Error::Damaged { .. }));
            prop_assert!(damaged);
        }
    }
}

fn journal(facts: Vec<(u32, Fact)>) -> Vec<(Offset, Vec<u8>)> {
    let entry =
        |(at, (who, fact)): (u64, (u32, Fact))| (Offset(at), Entry { incarnation: Incarnation(who.into()), fact }.encode());
    (0..).zip(facts).map(entry).collect()
}

/// Nothing was bound while the checkpoint was written, so its entry stands in front of the next binding.
#[test]
fn a_quiet_pipeline_keeps_its_only_checkpoint() {
    let entries = journal(vec![
        (1, start(1)),
        (1, Fact::Binding(binding(1, 3))),
        (1, Fact::Checkpoint(checkpoint(1, 1))),
        (1, Fact::Binding(binding(2, 0))),
    ]);
    let cut = History::read(&entries).unwrap().needed_from(Epoch(1));
    assert_eq!(cut, Some(Offset(2)));
    let rest = History::read(&entries[2..]).unwrap();
    assert_eq!(open(&rest, 7, StartRequest::Resume), Opening::Resume { generation: 1 });
    assert_eq!(rest.bindings_after(Epoch(1)).unwrap(), [binding(2, 0)]);
}

/// The entry of a checkpoint that is retired arrives once more, in front of the next one's, and the journal is cut between its two
/// copies: it stays retired.
#[test]
fn a_retired_checkpoint_does_not_come_back_by_truncation() {
    let bound = |epoch| (1, Fact::Binding(binding(epoch, 0)));
    let saved = |epoch| (1, Fact::Checkpoint(checkpoint(epoch, 1)));
    let retired = |epoch| (1, Fact::Retire { epoch: Epoch(epoch) });
    let before = [(1, start(1)), bound(1), saved(1), bound(2), saved(2), bound(3), saved(3), retired(1), bound(4)];
    let behind = [bound(5), saved(1), saved(4), saved(5), retired(2), retired(3)];
    let entries = journal(before.iter().chain(&behind).cloned().collect());
    let whole = History::read(&entries).unwrap();
    assert_eq!(whole.checkpoints, [checkpoint(4, 1), checkpoint(5, 1)]);
    assert_eq!(whole.needed_from(Epoch(4)), Some(Offset(before.len() as u64)));
    assert_eq!(History::read(&entries[before.len()..]).unwrap().checkpoints, whole.checkpoints);
}

#[test]
fn a_writer_finds_what_stands_of_its_entries_and_who_came_between() {
    let bind = |epoch| Fact::Binding(binding(epoch, 0));
    let encode = |facts: Vec<Fact>| journal(facts.into_iter().map(|f| (2, f)).collect()).into_iter().map(|(_, e)| e);
    let mine: Vec<_> = encode(vec![bind(7), bind(8), bind(9)]).collect();
    let page = |there| {
        let entries = journal(there);
        JournalPage { end: Offset(entries.len() as u64), entries }
    };
    let found = |there| standing(&page(there), Offset(0), Incarnation(2), &mine).unwrap();
    assert_eq!(found(vec![]), Standing::These(0));
    assert_eq!(found(vec![(2, bind(7)), (2, bind(8))]), Standing::These(2));
    let among_others = vec![(1, bind(7)), (2, bind(7)), (2, bind(6)), (1, bind(8)), (2, bind(8)), (2, bind(9))];
    assert_eq!(found(among_others), Standing::These(3), "a dead process and our own past do not matter");
    assert_eq!(found(vec![(2, bind(7)), (3, start(1)), (2, bind(8))]), Standing::Fenced(Offset(1)));
    assert_eq!(found(vec![(2, start(1)), (2, bind(7))]), Standing::These(1), "our own start, once more");
    let mut truncated = page(vec![(3, start(1)), (3, bind(7)), (3, bind(8))]);
    truncated.entries.remove(0);
    assert_eq!(standing(&truncated, Offset(0), Incarnation(2), &mine).unwrap(), Standing::Fenced(Offset(0)));
    truncated.entries.clear();
    assert_eq!(standing(&truncated, Offset(0), Incarnation(2), &mine).unwrap(), Standing::Fenced(Offset(0)));
    let damaged = JournalPage { entries: vec![(Offset(4), vec![1, 2, 3])], end: Offset(5) };
    assert!(matches!(standing(&damaged, Offset(4), Incarnation(2), &mine), Err(Error::Damaged { .. })));
}

#[test]
fn an_owner_that_binds_an_epoch_twice_in_two_ways_is_damage() {
    let entries = journal(vec![(1, start(1)), (1, Fact::Binding(binding(1, 3))), (1, Fact::Binding(binding(1, 4)))]);
    assert!(matches!(History::read(&entries), Err(Error::Damaged { .. })));
}

#[test]
fn a_gap_between_bindings_is_damage() {
    let entries = journal(vec![(1, start(1)), (1, Fact::Binding(binding(1, 0))), (1, Fact::Binding(binding(3, 0)))]);
    assert!(matches!(History::read(&entries), Err(Error::Damaged { .. })));
}

#[test]
fn an_entry_of_a_newer_release_says_so() {
    let mut bytes = Entry { incarnation: Incarnation(1), fact: start(1) }.encode();
    bytes.truncate(bytes.len() - 4);
    bytes[0] = FORMAT_VERSION + 1;
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let error = Entry::decode(Offset(4), &bytes).unwrap_err().to_string();
    assert_eq!(error, "journal entry 4: damaged: format version 3 is not known here; run a newer release");
}

#[test]
fn another_plan_is_refused_until_somebody_says_from_zero() {
    let history = History::read(&journal(vec![(1, start(3))])).unwrap();
    assert_eq!(open(&History::default(), 7, StartRequest::Resume), Opening::First);
    assert_eq!(open(&History::default(), 7, StartRequest::FromZero), Opening::First);
    assert_eq!(open(&history, 7, StartRequest::Resume), Opening::Resume { generation: 3 });
    assert_eq!(open(&history, 7, StartRequest::AdoptPlan), Opening::Resume { generation: 3 });
    assert_eq!(open(&history, 8, StartRequest::Resume), Opening::Refuse);
    assert_eq!(open(&history, 8, StartRequest::FromZero), Opening::Anew { generation: 4 });
}

/// Only from a checkpoint that holds everything: what lies behind it, the new plan would compute otherwise. And from then on what
/// lies before it is out of reach, also for a start that finds the checkpoint damaged.
#[test]
fn another_plan_goes_on_from_the_last_checkpoint_alone() {
    let bound = |epoch| (1, Fact::Binding(binding(epoch, 1)));
    let saved = |epoch| (1, Fact::Checkpoint(checkpoint(epoch, 1)));
    let mut facts = vec![(1, start(1)), bound(1), saved(1), bound(2)];
    assert_eq!(open(&History::read(&journal(facts.clone())).unwrap(), 8, StartRequest::AdoptPlan), Opening::NotAtRest);
    facts.push(saved(2));
    let history = History::read(&journal(facts.clone())).unwrap();
    assert_eq!(open(&history, 8, StartRequest::AdoptPlan), Opening::Adopt { generation: 1 });

    let Fact::Start(adopting) = start(1) else { unreachable!() };
    facts.push((2, Fact::Start(Start { layout: layout(8), ..adopting })));
    facts.push((2, Fact::Binding(binding(3, 1))));
    let history = History::read(&journal(facts)).unwrap();
    assert_eq!(open(&history, 8, StartRequest::Resume), Opening::Resume { generation: 1 });
    assert_eq!(history.checkpoints, [checkpoint(2, 1)]);
    assert_eq!(history.abandoned, [checkpoint(1, 1)]);
    assert_eq!(history.bindings_after(Epoch(2)).unwrap(), [binding(3, 1)]);
    assert!(history.bindings_after(Epoch(1)).is_err() && history.positions.is_none());
}

/// A start that died before its first binding has begun the generation; the next one goes on with it.
#[test]
fn a_generation_begins_with_its_first_start() {
    let entries = journal(vec![(1, start(1)), (1, Fact::Binding(binding(1, 0))), (2, start(2)), (3, start(2))]);
    let history = History::read(&entries).unwrap();
    assert_eq!((history.generation, history.since, history.last_epoch), (2, Epoch(1), Epoch(1)));
    assert!(history.bindings_after(Epoch(1)).unwrap().is_empty());
    assert_eq!(history.owner, Some((Incarnation(3), Token(3))));
}
