//! Goal: a start refuses what it cannot have written.

use super::*;
use crate::time::Epoch;

#[test]
fn a_lane_ahead_of_the_journal_is_refused() {
    let history = History { last_epoch: Epoch(7), ..History::default() };
    let entered =
        Entered { incarnation: Incarnation(1), token: Token(0), generation: 2, lanes_before: 1, end: Offset(0), history };
    let check = |generation, epoch| check_marker("topics/0", Some(Marker { generation, epoch: Epoch(epoch) }), &entered);
    assert!(check_marker("topics/0", None, &entered).is_ok());
    assert!(check(2, 7).is_ok());
    assert!(check(1, 7).is_ok());
    for ahead in [check(2, 8), check(1, 8), check(3, 1)] {
        assert!(matches!(ahead, Err(Error::Refused { .. })));
    }
}
