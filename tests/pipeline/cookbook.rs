//! Goal: the jobs of the cookbook do what they say. Method: each file of it has its test beside its job; here they run.

#[path = "../../examples/cookbook/alerts.rs"]
mod alerts;
#[path = "../../examples/cookbook/billing.rs"]
mod billing;
#[path = "../../examples/cookbook/funnel.rs"]
mod funnel;
#[path = "../../examples/cookbook/rings.rs"]
mod rings;
#[path = "../../examples/cookbook/velocity.rs"]
mod velocity;
