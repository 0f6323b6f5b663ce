//! Journals: an append happens only at the end its writer knows.

use super::{Case, Ground, Need, START};
use distributary_runtime::bus::{Appended, JournalPage, Offset, TopicSpec};

const CONDITIONAL: Need = Need { name: "conditional_append", has: |f| f.conditional_append };

pub(super) const CASES: &[Case] = &[
    Case { name: "a journal is appended to and read back", needs: None, show: append_and_read },
    Case { name: "an append at a taken offset writes nothing", needs: Some(CONDITIONAL), show: taken },
    Case { name: "an append at another end than expected says so", needs: None, show: not_as_expected },
    Case { name: "of two writers each knows where its entries stand", needs: None, show: two_writers },
    Case { name: "a truncated journal keeps its offsets", needs: None, show: truncated },
    Case { name: "a journal is read as it stood at one moment", needs: None, show: truncated_meanwhile },
];

fn entries(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|t| t.as_bytes().to_vec()).collect()
}

fn append_and_read(g: &Ground) {
    let journal = g.create(TopicSpec::journal("j"));
    assert_eq!(g.bus.read_journal(journal, START).unwrap(), JournalPage::default());
    assert_eq!(g.bus.append_journal(journal, Offset(0), &entries(&["a", "", "c"])).unwrap(), Appended::At(Offset(0)));
    assert_eq!(g.bus.append_journal(journal, Offset(3), &entries(&["d"])).unwrap(), Appended::At(Offset(3)));
    let page = (g.make)().read_journal(journal, START).unwrap();
    let offsets: Vec<u64> = page.entries.iter().map(|(o, _)| o.0).collect();
    let texts: Vec<Vec<u8>> = page.entries.into_iter().map(|(_, e)| e).collect();
    assert_eq!((offsets, texts, page.end), (vec![0, 1, 2, 3], entries(&["a", "", "c", "d"]), Offset(4)));
    let tail = g.bus.read_journal(journal, Offset(3)).unwrap();
    assert_eq!(tail.entries, [(Offset(3), b"d".to_vec())]);
    assert_eq!(g.bus.read_journal(journal, Offset(4)).unwrap(), JournalPage { entries: vec![], end: Offset(4) });
}

fn taken(g: &Ground) {
    let journal = g.create(TopicSpec::journal("j"));
    g.bus.append_journal(journal, START, &entries(&["a", "b"])).unwrap();
    for expected in [0, 1, 3] {
        let answer = g.bus.append_journal(journal, Offset(expected), &entries(&["x"])).unwrap();
        assert_eq!(answer, Appended::Taken { end: Offset(2) }, "expected {expected}");
    }
    assert_eq!(g.ends(journal), [2]);
}

fn not_as_expected(g: &Ground) {
    let journal = g.create(TopicSpec::journal("j"));
    g.bus.append_journal(journal, START, &entries(&["a", "b"])).unwrap();
    let answer = (g.make)().append_journal(journal, Offset(1), &entries(&["c", "d"])).unwrap();
    let (expected, texts): (_, &[&str]) = if g.bus.features().conditional_append {
        (Appended::Taken { end: Offset(2) }, &["a", "b"])
    } else {
        (Appended::Behind { at: Offset(2) }, &["a", "b", "c", "d"])
    };
    let there: Vec<Vec<u8>> = g.bus.read_journal(journal, START).unwrap().entries.into_iter().map(|(_, e)| e).collect();
    assert_eq!((answer, there), (expected, entries(texts)));
}

fn two_writers(g: &Ground) {
    const ROUNDS: u64 = 50;
    let journal = g.create(TopicSpec::journal("j"));
    let write = |name: &'static str| {
        let bus = (g.make)();
        move || {
            let (mut end, mut own) = (START, Vec::new());
            while end.0 < ROUNDS {
                match bus.append_journal(journal, end, &entries(&[name])).unwrap() {
                    Appended::At(offset) | Appended::Behind { at: offset } => {
                        own.push(offset);
                        end = offset.next();
                    }
                    Appended::Taken { end: now } => end = now,
                }
            }
            own
        }
    };
    let (a, b) = std::thread::scope(|scope| {
        let (a, b) = (scope.spawn(write("a")), scope.spawn(write("b")));
        (a.join().unwrap(), b.join().unwrap())
    });
    let page = g.bus.read_journal(journal, START).unwrap();
    assert!(page.end >= Offset(ROUNDS) && page.entries.len() == a.len() + b.len(), "{page:?}");
    for (offset, name) in page.entries {
        let (mine, other) = if name == b"a" { (&a, &b) } else { (&b, &a) };
        assert!(mine.contains(&offset) && !other.contains(&offset), "{offset} was won by exactly one");
    }
}

fn truncated(g: &Ground) {
    let journal = g.create(TopicSpec::journal("j"));
    g.bus.append_journal(journal, START, &entries(&["a", "b", "c"])).unwrap();
    for _ in 0..2 {
        g.bus.truncate_journal(journal, Offset(2)).unwrap();
        assert_eq!((g.starts(journal), g.ends(journal)), (vec![2], vec![3]));
    }
    g.bus.truncate_journal(journal, Offset(1)).unwrap();
    let page = g.bus.read_journal(journal, START).unwrap();
    assert_eq!((page.entries, page.end), (vec![(Offset(2), b"c".to_vec())], Offset(3)));
    g.bus.truncate_journal(journal, Offset(3)).unwrap();
    assert_eq!(g.bus.append_journal(journal, Offset(3), &entries(&["d"])).unwrap(), Appended::At(Offset(3)));
}

/// The owner appends and truncates while others, who have just come, read: nobody finds less than it ever leaves there.
fn truncated_meanwhile(g: &Ground) {
    const ROUNDS: u64 = 10;
    const APPENDS: u64 = 20;
    const KEPT: u64 = 2;
    let journal = g.create(TopicSpec::journal("j"));
    g.bus.append_journal(journal, START, &entries(&["x"; KEPT as usize])).unwrap();
    let read = || {
        let page = (g.make)().read_journal(journal, START).unwrap();
        let offsets: Vec<u64> = page.entries.iter().map(|(offset, _)| offset.0).collect();
        let from = offsets.first().copied().unwrap_or(page.end.0);
        assert_eq!(offsets, (from..page.end.0).collect::<Vec<_>>());
        assert!(offsets.len() as u64 >= KEPT, "{offsets:?}");
    };
    std::thread::scope(|scope| {
        let owner = scope.spawn(|| {
            for end in KEPT..KEPT + ROUNDS * APPENDS {
                g.bus.append_journal(journal, Offset(end), &entries(&["x"])).unwrap();
                if end % APPENDS == 0 {
                    g.bus.truncate_journal(journal, Offset(end + 1 - KEPT)).unwrap();
                }
            }
        });
        while !owner.is_finished() {
            read();
        }
    });
    read();
}
