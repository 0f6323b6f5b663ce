//! The binary with the built-in jobs: something to try, and the tool for topics.

use distributary::jobs::{balance, purchases, spend, velocity};

distributary::main!(velocity, spend, balance, purchases);
