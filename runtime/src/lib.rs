//! The runtime of Distributary: what makes a job over a shared bus *definite*, and therefore exactly-once.
//!
//! A pipeline takes records from source partitions in **epochs**. For each epoch it writes down what the epoch consists of
//! (a [`binding`]: offset ranges, watermark, clock) in its [`journal`] on the bus. Everything downstream is a pure function of
//! (bus, journal, job). So there is no barrier and no two-phase commit: an epoch that is lost with a process is computed
//! again, the same, and a process that does not know it is dead can only repeat what stands already.
//!
//! ```text
//!   bus topic                    worker threads (timely)                       bus topics, files
//!      │        ┌──────────┐  chunk  ┌──────────┐   ┌───────────┐   ┌───────┐   ┌───────────┐
//!      ├───────►│ reader   ├────────►│ follower ├──►│ operators ├──►│ lanes ├──►│ committer ├──► results + marker,
//!      │        └────┬─────┘         └────▲─────┘   └─────┬─────┘   └───────┘   └──▲──┬─────┘    one atomic step
//!      │   delivered │                    │ binding       │ slices                 │  │ applied
//!      │        ┌────▼─────────────────┐  │         ┌─────▼────┐            durable│  │
//!      │        │ minter (on worker 0) ├──┤         │ upkeep   ├──► checkpoint store  │
//!      │        └────▲─────────────────┘  │         └──────────┘                   │  │
//!      │             └────────────────────┼────────────────────────────────────────┼──┘
//!      │                                  └──►┌────────┐ bindings, checkpoints     │
//!      └──────────── journal ◄────────────────┤ scribe ├───────────────────────────┘
//!                                             └────────┘
//! ```
//!
//! Read in this order:
//!
//! | module | what it decides or does |
//! |---|---|
//! | [`time`], [`update`], [`key`], [`shape`] | epoch, event time; `(data, stamp, diff)` and origins; stable hashes; shapes of types |
//! | [`binding`] | what an epoch consists of, and the fold over all of them |
//! | [`minter`] | *pure*: when an epoch closes, what it binds; back-pressure, watermark, idleness, lifts |
//! | [`journal`] | *pure*: entries, which of them count, how a start goes on; [`scribe`] writes it on its own thread |
//! | [`source`] | reader threads prefetch and decode, followers emit exactly what a binding assigns: live and replay alike |
//! | [`deletion`] | requests to delete: what they cover is suppressed where it would enter, or recalled and enters turned round |
//! | [`asking`] | look-ups: somebody outside is asked, and the answers enter like any other data |
//! | [`operator`], [`blocking`], [`input`] | the shapes of an operator; what it takes: a collection, or several side by side |
//! | [`view`] | the edge between collections and differential dataflow, and how its workers are set |
//! | [`graph`], [`plan`], [`table`] | the dataflow while it is built; the plan as data, and the columns of its tables |
//! | [`sink`], [`output`], [`lanes`], [`dead_letters`] | encoding, gathering, committing runs of epochs; *pure*: what a lane does next |
//! | [`state`], [`checkpoint`], [`upkeep`] | keyed state with copy-on-write snapshots; when a checkpoint counts; writing and clearing away |
//! | [`layout`] | *pure*: what every incarnation of a generation has in common, and what another plan can go on with |
//! | [`pipeline`], [`start`], [`engine`] | what a pipeline is made of; look, enter, fence, restore, replay; threads |
//! | [`steering`], [`report`], [`status`], [`blocked`] | what worker 0 does beside its work, what it hears, how things stand |
//! | [`bus`] | the bus as one trait; implementations live in `distributary-connectors` |
//! | [`failpoint`], [`user_code`], [`error`], [`response`], [`settings`], [`metrics`] | every durable step has a name; caught closures; what went wrong and what to do; data |
//! | [`testing`] | runs operators over given epochs, without a bus |
//!
//! Threads of a pipeline: its workers, one reader for each source and worker, one committer for each lane, the scribe and the
//! upkeep; those that ask services, and those of calls that take long ([`blocking`]). They talk through bounded queues; all news go to worker 0 through [`report`]. Worker 0 alone mints. Nothing here
//! knows what a job looks like (`distributary`) or how a bus stores records (`distributary-connectors`).

pub mod asking;
pub mod binding;
pub mod blocked;
pub mod blocking;
pub mod bus;
pub mod checkpoint;
pub mod dead_letters;
pub mod deletion;
pub mod engine;
pub mod error;
pub mod failpoint;
pub mod graph;
pub mod input;
pub mod journal;
pub mod key;
pub mod lanes;
pub mod layout;
pub mod metrics;
pub mod minter;
pub mod operator;
pub mod output;
pub mod pipeline;
pub mod plan;
pub mod report;
pub mod response;
pub mod scribe;
pub mod settings;
pub mod shape;
pub mod sink;
pub mod source;
pub mod start;
pub mod state;
pub mod status;
pub mod steering;
pub mod table;
pub mod testing;
mod threads;
pub mod time;
pub mod update;
pub mod upkeep;
pub mod user_code;
pub mod view;
