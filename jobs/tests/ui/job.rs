use distributary::{Flow, Result, job};

#[job]
fn no_team(flow: &Flow) -> Result<()> {
    Ok(())
}

#[job(teem = "fraud")]
fn unknown_key(flow: &Flow) -> Result<()> {
    Ok(())
}

#[job(team = "Fraud Team")]
fn wrong_team(flow: &Flow) -> Result<()> {
    Ok(())
}

#[job(team = "fraud")]
fn WrongName(flow: &Flow) -> Result<()> {
    Ok(())
}

#[job(team = "fraud")]
fn no_flow() -> Result<()> {
    Ok(())
}

#[job(team = "fraud")]
fn mutable_flow(flow: &mut Flow) -> Result<()> {
    Ok(())
}

#[job(team = "fraud")]
fn more_than_the_flow(flow: &Flow, limit: u64) -> Result<()> {
    Ok(())
}

#[job(team = "fraud")]
fn no_result(flow: &Flow) {}

#[job(team = "fraud")]
fn other_result(flow: &Flow) -> Result<u64> {
    Ok(5)
}

#[job(team = "fraud")]
async fn not_now(flow: &Flow) -> Result<()> {
    Ok(())
}

#[job(team = "fraud")]
fn generic<T>(flow: &Flow) -> Result<()> {
    Ok(())
}

#[job(team = "fraud")]
fn foreign_error(flow: &Flow) -> std::result::Result<(), String> {
    Ok(())
}

#[job(team = "fraud")]
struct NotAFunction;

fn main() {}
