//! What is to be done about an error.

/// What the caller does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The same call may succeed later.
    Retry,
    /// Only this record is affected: set it aside.
    DeadLetter,
    /// The pipeline stops with its reason; a restart alone does not help.
    StopPipeline,
    /// This process must end: another incarnation owns the pipeline.
    StopProcess,
}
