//! One side: the query as a job, through the real engine, from the bus to results that are thrown away.

use crate::common::pipeline::{AfterCommit, Discard, Place};
use crate::common::process::{memory, process_cpu};
use crate::events::{Auction, Bid, Person};
use crate::measured::{Measured, State};
use crate::rows::Rows;
use distributary::{Event, Flow, Job, Stream, hours, run, topic};
use distributary_runtime::error::Result;
use distributary_runtime::journal::StartRequest;
use distributary_runtime::state::{parse_manifest_name, pipeline_prefix};
use distributary_runtime::time::monotonic;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What is measured beside the queries: reading and decoding alone, and with what every query does before anything else.
pub(crate) const PARTS: [(&str, Job); 8] = [
    ("read bids", Job::new("read-bids", "nexmark", "", |flow| bids(flow, read))),
    ("read offers", Job::new("read-offers", "nexmark", "", |flow| auctions(flow, read).and_then(|()| bids(flow, read)))),
    ("read sellers", Job::new("read-sellers", "nexmark", "", |flow| auctions(flow, read).and_then(|()| persons(flow, read)))),
    (
        "read all",
        Job::new("read-all", "nexmark", "", |flow| {
            persons(flow, read).and_then(|()| auctions(flow, read)).and_then(|()| bids(flow, read))
        }),
    ),
    ("dedup bids", Job::new("dedup-bids", "nexmark", "", |flow| bids(flow, dedup))),
    ("dedup offers", Job::new("dedup-offers", "nexmark", "", |flow| auctions(flow, dedup).and_then(|()| bids(flow, dedup)))),
    ("dedup sellers", Job::new("dedup-sellers", "nexmark", "", |flow| auctions(flow, dedup).and_then(|()| persons(flow, dedup)))),
    (
        "dedup all",
        Job::new("dedup-all", "nexmark", "", |flow| {
            persons(flow, dedup).and_then(|()| auctions(flow, dedup)).and_then(|()| bids(flow, dedup))
        }),
    ),
];

/// What becomes of a stream before everything in it is dropped.
type Part<E> = for<'s> fn(&Flow<'s>, &'static str, Stream<'s, E>) -> Stream<'s, E>;

fn read<'s, E: Event>(_: &Flow<'s>, _: &'static str, events: Stream<'s, E>) -> Stream<'s, E> {
    events
}

/// As in every query.
fn dedup<'s, E: Event>(flow: &Flow<'s>, name: &'static str, events: Stream<'s, E>) -> Stream<'s, E> {
    flow.correct_for(hours(30 * 24));
    events.dedup(name, hours(48))
}

fn bids(flow: &Flow<'_>, part: Part<Bid>) -> Result<()> {
    part(flow, "bids", flow.read()?).filter(|_| false).map(|b| b.price).to(topic("nexmark.bids"));
    Ok(())
}

fn auctions(flow: &Flow<'_>, part: Part<Auction>) -> Result<()> {
    part(flow, "auctions", flow.read()?).filter(|_| false).map(|a| a.reserve).to(topic("nexmark.auctions"));
    Ok(())
}

fn persons(flow: &Flow<'_>, part: Part<Person>) -> Result<()> {
    part(flow, "persons", flow.read()?).filter(|_| false).map(|p| p.id).to(topic("nexmark.persons"));
    Ok(())
}

/// Runs a job from the first record to the last, and stops it. The checkpoint that it ends with is not timed.
pub(crate) fn measure(job: Job, place: &Place, records: u64) -> Result<Measured> {
    let rows = Arc::new(Mutex::new(Rows::default()));
    let seen = rows.clone();
    let after: AfterCommit = Arc::new(move |run, _| {
        let mut rows = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for record in run.epochs.iter().flat_map(|epoch| &epoch.records) {
            rows.look(record.diff, record.value.as_deref().unwrap_or_default());
        }
    });
    let (began, cpu) = (monotonic(), process_cpu());
    let pipeline = place.start_discarding(job, &Discard::default(), StartRequest::FromZero, after)?;
    pipeline.wait_applied(records)?;
    let (wall, cpu) = (began.elapsed(), process_cpu().saturating_sub(cpu));
    let (peak, epochs) = (memory().peak, pipeline.metrics.epochs_closed.get());
    pipeline.stop()?;
    let rows = *rows.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Measured { wall_s: wall.as_secs_f64(), cpu_s: cpu.as_secs_f64(), peak, rows, epochs, states: states(job, place)? })
}

/// What the last checkpoint holds, by state.
fn states(job: Job, place: &Place) -> Result<BTreeMap<String, State>> {
    let store = run::open_store(&place.settings)?;
    let stored = store.list(&pipeline_prefix(&run::pipeline(job).name))?;
    let Some(manifest) = stored.iter().rfind(|stored| parse_manifest_name(&stored.name).is_some()) else {
        return Ok(BTreeMap::new());
    };
    let states = store.manifest(&manifest.name)?.states.into_iter().map(|state| {
        let slices = || state.groups.values().flatten();
        let (keys, bytes) = (slices().map(|slice| u64::from(slice.entries)).sum(), slices().map(|slice| slice.len).sum());
        (state.name.clone(), State { keys, bytes })
    });
    Ok(states.collect())
}
