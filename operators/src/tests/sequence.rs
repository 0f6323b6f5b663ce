//! Sequences against all records that were taken: from each that begins one, a walk over those behind it.

use super::kept::{Stamped, Taken, check};
use super::{Multiset, POISON, Record, history, restart, restart::stop, seeded, value};
use crate::{Keyed, Match, Pattern, begin, key_by, map, sequence};
use distributary_runtime::graph::{Collection, Graph};
use distributary_runtime::operator::Outputs;
use distributary_runtime::time::EventTime;
use proptest::prelude::*;

/// Begins with 0 or 1, then 2 or 1, not -1 between; then, if `long`, 3, without 0; at the end, if `quiet`, no -2.
#[derive(Clone, Copy, Debug)]
struct Of {
    within: i64,
    lateness: i64,
    horizon: i64,
    long: bool,
    quiet: bool,
}

fn of() -> impl Strategy<Value = Of> {
    (1_i64..25, 0_i64..10, prop_oneof![Just(0), 0_i64..30], any::<bool>(), any::<bool>())
        .prop_map(|(within, lateness, horizon, long, quiet)| Of { within, lateness, horizon, long, quiet })
}

impl Of {
    fn pattern(self) -> Pattern<Record> {
        let is = |numbers: &'static [i64]| move |record: &Record| numbers.contains(&value(record));
        let mut pattern = begin(is(&[0, 1])).without(is(&[-1])).then(is(&[1, 2]));
        if self.long {
            pattern = pattern.without(is(&[0])).without(is(&[7])).then(is(&[3]));
        }
        if self.quiet {
            pattern = pattern.without(is(&[-2]));
        }
        pattern.within(self.within).lateness(self.lateness)
    }

    fn sequences<'s>(
        self,
        graph: &Graph<'s>,
        input: &Collection<'s, Record>,
    ) -> Outputs<'s, Keyed<u8, Record>, Match<u8, Record>> {
        sequence(graph, &key_by(graph, input, |(key, _)| *key), "s", self.pattern())
    }

    fn walk(self, behind: &[(Stamped, i64)], watermark: EventTime) -> Option<(Vec<Record>, i64)> {
        let mut wanted: Vec<(&[i64], &[i64])> = vec![(&[-1], &[1, 2])];
        if self.long {
            wanted.push((&[0], &[3]));
        }
        let ((first, record), _) = behind[0];
        let end = first.time.0 + self.within;
        let (mut found, mut time) = (vec![record], first.time.0);
        let mut rest = behind[1..].iter().map(|(stamped, _)| stamped).filter(|(s, _)| s.time.0 <= end && s.time <= watermark);
        for (without, then) in wanted {
            let next = rest.find(|(_, (_, v))| then.contains(v) || without.contains(v))?;
            if !then.contains(&next.1.1) {
                return None;
            }
            found.push(next.1);
            time = next.0.time.0;
        }
        if !self.quiet {
            return Some((found, time));
        }
        (!rest.any(|(_, (_, v))| *v == -2) && end <= watermark.0).then_some((found, end))
    }
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn each_beginning_has_its_sequence(steps in history(), of in of()) {
        check(&steps, (of.lateness, of.horizon), move |graph, input| {
            let outputs = of.sequences(graph, &input);
            (outputs.results, map(graph, &outputs.late, |late| late.value))
        }, |record| record.1 != POISON, |taken: &Taken, watermark| {
            let mut expected = Multiset::default();
            for key in 0..3 {
                let standing = taken.of(key);
                let begins = (0..standing.len()).filter(|n| [0, 1].contains(&standing[*n].0.1.1) && standing[*n].0.0.time <= watermark);
                for (behind, copies) in begins.map(|n| (&standing[n..], standing[n].1)) {
                    if let Some((records, time)) = of.walk(behind, watermark) {
                        expected.add((Match { key, records }, EventTime(time)), copies);
                    }
                }
            }
            expected
        })?;
    }

    #[test]
    fn sequences_go_on(steps in history(), stop in stop(), of in of()) {
        restart::check(steps, stop, move |graph, input| {
            graph.correct_for(of.horizon);
            restart::all(graph, &of.sequences(graph, &input))
        })?;
    }
}
