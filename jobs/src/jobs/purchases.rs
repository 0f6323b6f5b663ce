//! Every payment, for whoever asks later.

use super::Payment;
use crate::{Flow, Result, job, table};

/// Every payment once, to the table `purchases`.
#[job(team = "demo")]
pub fn purchases(flow: &Flow) -> Result<()> {
    Payment::each_once(flow)?.to(table("purchases"));
    Ok(())
}
