//! A bus that is away for a while or forgets its answers, and neighbours on the same bus.

use crate::rig::{Payment, Rig, copies, ids, payments};
use distributary::{Flow, Result, job, topic};

mod bi {
    use super::*;

    #[job(team = "bi")]
    pub(super) fn copies(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?.to(topic("bi.copies"));
        Ok(())
    }

    #[job(team = "bi")]
    pub(super) fn slow(flow: &Flow) -> Result<()> {
        flow.read::<Payment>()?.to(distributary::memory("slow"));
        Ok(())
    }
}

#[test]
fn a_bus_that_is_away_for_a_while_costs_nothing_but_time() {
    let rig = Rig::new();
    rig.topic("payments", 2);
    let running = rig.start(copies);
    for round in 0..3 {
        rig.publish("payments", payments(round * 100..round * 100 + 50));
        rig.read("fraud.copies", round as usize * 100 + 50);
        rig.bus.goes_away();
        rig.publish("payments", payments(round * 100 + 50..(round + 1) * 100));
        rig.bus.wait_failed(20); // the reader, the journal, the lane and the upkeep all ask again and again
        rig.bus.returns();
        let all = rig.read("fraud.copies", (round as usize + 1) * 100);
        assert_eq!(ids(&all), (0..(round + 1) * 100).collect::<Vec<_>>());
    }
    running.stop();
    assert_eq!(ids(&rig.all("fraud.copies")), (0..300).collect::<Vec<_>>());
}

#[test]
fn a_write_whose_answer_is_lost_stands_once() {
    let rig = Rig::new();
    rig.topic("payments", 2);
    let running = rig.start(copies);
    rig.publish("payments", payments(100..101));
    rig.read("fraud.copies", 1);
    for round in 0..4 {
        rig.bus.loses_answers(5);
        rig.publish("payments", payments(round * 25..(round + 1) * 25));
        rig.read("fraud.copies", 1 + (round as usize + 1) * 25);
    }
    running.stop();
    assert_eq!(rig.bus.answers_to_lose(), 0, "answers were lost");
    assert_eq!(ids(&rig.all("fraud.copies")), (0..101).collect::<Vec<_>>());
    let running = rig.start(copies);
    running.stop();
    assert_eq!(ids(&rig.all("fraud.copies")), (0..101).collect::<Vec<_>>());
}

#[test]
fn one_team_does_not_feel_what_happens_to_another() {
    let rig = Rig::new();
    rig.topic("payments", 2);
    rig.memory.hold();
    let (ours, theirs, slow) = (rig.start(copies), rig.start(bi::copies), rig.start(bi::slow));
    rig.publish("payments", payments(0..10));
    rig.read("fraud.copies", 10);
    rig.read("bi.copies", 10);
    assert!(rig.memory.wait_held(crate::rig::PATIENCE), "a sink of theirs blocks");

    rig.calm.delete_topic("bi.copies").unwrap();
    rig.publish("payments", payments(10..20));
    theirs.end();
    assert_eq!(ids(&rig.read("fraud.copies", 20)), (0..20).collect::<Vec<_>>(), "one of theirs has failed, another blocks");

    slow.crash();
    rig.publish("payments", payments(20..30));
    rig.read("fraud.copies", 30);
    ours.stop();
    assert_eq!(ids(&rig.all("fraud.copies")), (0..30).collect::<Vec<_>>());
}
