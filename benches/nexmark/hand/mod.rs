//! The other side: loops written by hand, each for one query and for nothing else.
//!
//! They read what the engine reads, from the same bus, decode the same JSON, drop what is repeated, and say the same rows. What the
//! engine does beyond that they leave out: nothing is kept for a crash, nothing can be retracted, nobody else can do a part of it.

mod input;
mod queries;

pub(crate) use input::{Input, Item, Repeated};

use crate::rows::Writer;
use distributary_runtime::error::{Error, Result};

/// Runs the loop of a query over everything that its topics hold.
pub(crate) fn run(query: &str, input: &mut Input, out: &mut Writer) -> Result<()> {
    match query {
        "read bids" | "read offers" | "read sellers" | "read all" => input.each(Repeated::Kept, drop),
        "dedup bids" | "dedup offers" | "dedup sellers" | "dedup all" => input.each(Repeated::Dropped, drop),
        "q0" => queries::q0(input, out),
        "q1" => queries::q1(input, out),
        "q2" => queries::q2(input, out),
        "q3" => queries::q3(input, out),
        "q4" => queries::q4(input, out),
        "q5" => queries::q5(input, out),
        "q7" => queries::q7(input, out),
        "q8" => queries::q8(input, out),
        "q9" => queries::q9(input, out),
        "q11" => queries::q11(input, out),
        "q12e" => queries::q12e(input, out),
        "q13" => queries::q13(input, out),
        "q14" => queries::q14(input, out),
        "q15" => queries::q15(input, out),
        "q16" => queries::q16(input, out),
        "q17" => queries::q17(input, out),
        "q18" => queries::q18(input, out),
        "q19" => queries::q19(input, out),
        "q20" => queries::q20(input, out),
        "q21" => queries::q21(input, out),
        "q22" => queries::q22(input, out),
        "q23s" => queries::q23s(input, out),
        _ => Err(Error::refused(format!("there is no loop for `{query}`"), "write one")),
    }
}
