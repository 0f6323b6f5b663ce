//! A job as data: its name, its team, and the function that builds it.

use crate::flow::Flow;
use crate::{Result, archive};
use distributary_runtime::plan::Tier;
use std::fmt;

/// A job: what `#[job(team = "...")]` makes of a function.
///
/// It is a constant of the function's name, so it is passed by that name: `TestJob::new(spend)`,
/// `distributary::main!(spend)`. (A local variable of the same name would be taken for the constant: name it otherwise.)
///
/// ```
/// use distributary::{Flow, Result, job};
///
/// /// Spend per user.
/// #[job(team = "fraud")]
/// fn spend(_flow: &Flow) -> Result<()> {
///     Ok(())
/// }
/// assert_eq!(spend.to_string(), "fraud.spend");
/// assert_eq!(spend.doc(), "Spend per user.");
/// ```
#[derive(Clone, Copy)]
pub struct Job {
    name: &'static str,
    team: &'static str,
    doc: &'static str,
    build: fn(&Flow<'_>) -> Result<()>,
}

impl Job {
    /// A job from its parts; `#[job]` checks the names, this does not.
    #[must_use]
    pub const fn new(name: &'static str, team: &'static str, doc: &'static str, build: fn(&Flow<'_>) -> Result<()>) -> Self {
        Self { name, team, doc, build }
    }

    /// Its name, unique within the team.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The team that owns it.
    #[must_use]
    pub const fn team(&self) -> &'static str {
        self.team
    }

    /// The doc comment of its function; empty without one.
    #[must_use]
    pub const fn doc(&self) -> &'static str {
        self.doc
    }

    /// Describes the job on `flow`.
    ///
    /// # Errors
    /// What the job's function returns.
    pub fn build(&self, flow: &Flow<'_>) -> Result<()> {
        (self.build)(flow)
    }
}

/// `team.job`.
impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.team, self.name)
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({self})")
    }
}

/// One of the two pipelines of a job: what runs, with a journal, checkpoints and results of its own.
///
/// ```
/// use distributary::job::TierOf;
/// use distributary_runtime::plan::Tier;
/// let batch = TierOf { job: distributary::jobs::spend, tier: Tier::Batch };
/// assert_eq!((batch.to_string(), batch.short()), ("demo.spend.batch".into(), "spend.batch".into()));
/// assert_eq!(TierOf::from(distributary::jobs::spend).to_string(), "demo.spend");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TierOf {
    /// The job.
    pub job: Job,
    /// Which of its pipelines.
    pub tier: Tier,
}

impl TierOf {
    /// Its name within the team, by which commands find it; of an archive, which is no team's, the whole.
    #[must_use]
    pub fn short(&self) -> String {
        if self.job.team() == archive::TEAM { self.to_string() } else { format!("{}{}", self.job.name(), self.suffix()) }
    }

    fn suffix(&self) -> &'static str {
        match self.tier {
            Tier::Stream => "",
            Tier::Batch => ".batch",
        }
    }
}

/// The streaming tier.
impl From<Job> for TierOf {
    fn from(job: Job) -> Self {
        Self { job, tier: Tier::Stream }
    }
}

/// `team.job`, or `team.job.batch`: the name of the pipeline.
impl fmt::Display for TierOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.job, self.suffix())
    }
}
