//! Goal: an hour has few files whatever comes into it, in their order, and a row is written again a few times only. Method: the rules on
//! files that are nothing but sizes.

use super::*;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

/// An hour, and what was written to it.
#[derive(Default)]
struct OfHour {
    files: Vec<TableFile>,
    written: u64,
    epoch: u64,
}

impl OfHour {
    fn comes(&mut self, size_bytes: u64) {
        self.epoch += 1;
        self.add(self.files.len(), self.epoch, size_bytes);
    }

    fn add(&mut self, at: usize, epoch: u64, size_bytes: u64) {
        let path = format!("event_date=2026-01-02/event_hour=03/part-{epoch}-0-0.parquet");
        self.files.insert(at, TableFile { path, size_bytes, rows: 1 });
        self.written += size_bytes;
    }

    /// Joins what is to be joined; whether there was anything.
    fn join(&mut self, is_quiet: bool) -> bool {
        let files = self.files.clone();
        let files: Vec<_> = files.iter().collect();
        let joints = joints(&files, is_quiet);
        for joint in &joints {
            assert!(joint.len() > 1 && bytes_of(joint) <= LARGE, "{joint:?}");
            let from = self.files.iter().position(|file| file.path == joint[0].path).unwrap();
            let gone: Vec<_> = self.files.drain(from..from + joint.len()).collect();
            assert!(gone.iter().eq(joint.iter().copied()), "neighbours");
            assert!(gone.iter().all(|file| file.size_bytes < SMALL), "what is large is left alone");
            self.add(from, written_by(&gone.last().unwrap().path).unwrap().0, bytes_of(joint));
        }
        !joints.is_empty()
    }
}

proptest! {
    #[test]
    fn few_files_are_left_in_their_order(sizes in prop::collection::vec((0..29_u32, 0..100_u64), 1..400)) {
        let mut hour = OfHour::default();
        for (commit, (scale, rest)) in (1..).zip(&sizes) {
            hour.comes((1 << scale) + (1 << scale) * rest / 100);
            if commit % SOME == 0 {
                hour.join(false);
            }
        }
        let all: u64 = sizes.iter().map(|(scale, rest)| (1 << scale) + (1 << scale) * rest / 100).sum();
        let mut rounds = 0;
        while hour.join(true) {
            rounds += 1;
            prop_assert!(rounds < 10, "no end");
        }
        prop_assert_eq!(bytes_of(&hour.files.iter().collect::<Vec<_>>()), all);
        prop_assert!(hour.files.is_sorted_by_key(|file| written_by(&file.path)));
        let small = hour.files.iter().filter(|file| file.size_bytes < SMALL).count();
        prop_assert!(small <= 15 * (hour.files.len() - small + 1), "{:?}", hour.files);
    }
}

/// An epoch every ten seconds, all of one size: the hour ends with files of 128 to 256 MiB and a few small ones at most.
#[test]
fn an_hour_of_commits_of_one_size_has_large_files() {
    for (size, most) in [(MIB / 16, 7.0), (MIB, 3.5), (4 * MIB, 2.1), (20 * MIB, 2.2)] {
        let mut hour = OfHour::default();
        for commit in 1..=360 {
            hour.comes(size);
            if commit % SOME == 0 {
                hour.join(false);
            }
            let small = hour.files.iter().filter(|file| file.size_bytes < SMALL).count();
            assert!(small < MANY + SOME + 5, "{small} files of {size} bytes");
        }
        while hour.join(true) {}
        let small = hour.files.iter().filter(|file| file.size_bytes < SMALL).count();
        assert!(small <= 3, "{:?}", hour.files);
        let times = hour.written as f64 / (360 * size) as f64;
        assert!(times < most, "each row of commits of {size} bytes was written {times} times");
    }
}
