//! The results of an open epoch, on their way to their lanes.

use crate::sink::OutRecord;
use std::collections::BTreeMap;

/// By lane, sink and partition. Of each of them the results of one worker mostly come in order: to keep them apart is cheaper than
/// to sort what was mixed.
#[derive(Debug, Default)]
pub(super) struct Gathered(BTreeMap<(u32, u16, u32), Vec<OutRecord>>);

impl Gathered {
    /// Takes all of a batch; `lanes` is the number of lanes.
    pub(super) fn add(&mut self, batch: &mut Vec<OutRecord>, lanes: u32) {
        for record in batch.drain(..) {
            self.0.entry((record.partition % lanes, record.sink, record.partition)).or_default().push(record);
        }
    }

    /// Gives those of a lane, in canonical order.
    pub(super) fn take(&mut self, lane: u32) -> Vec<OutRecord> {
        let mut parts = self.0.extract_if((lane, 0, 0)..=(lane, u16::MAX, u32::MAX), |_, _| true).map(|(_, mut records)| {
            records.sort_unstable_by(OutRecord::canonical);
            records
        });
        let mut all = parts.next().unwrap_or_default();
        parts.for_each(|mut records| all.append(&mut records));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::Gathered;
    use crate::sink::OutRecord;
    use crate::update::Origin;
    use proptest::prelude::*;

    fn record() -> impl Strategy<Value = OutRecord> {
        let key = prop::option::of(prop::collection::vec(any::<u8>(), 0..2));
        (0..2_u16, 0..5_u32, 0..6_u64, prop_oneof![Just(-1), Just(1)], key).prop_map(|(sink, partition, offset, diff, key)| {
            let (origin, value, headers) = (Origin::record(0, 0, offset), None, Vec::new());
            OutRecord { sink, partition, origin, diff, key, value, headers }
        })
    }

    proptest! {
        /// Against a sort of all.
        #[test]
        fn every_lane_gets_its_results_in_order(records in prop::collection::vec(record(), 0..40), lanes in 1..4_u32) {
            let mut gathered = Gathered::default();
            records.chunks(7).for_each(|batch| gathered.add(&mut batch.to_vec(), lanes));
            for lane in 0..lanes {
                let mut expected: Vec<_> = records.iter().filter(|r| r.partition % lanes == lane).cloned().collect();
                expected.sort_by(OutRecord::canonical);
                prop_assert_eq!(gathered.take(lane), expected);
            }
        }
    }
}
