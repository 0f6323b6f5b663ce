//! Placeholder until the flow arrives.

use std::marker::PhantomData;

/// What a job is built on.
pub struct Flow<'a>(PhantomData<&'a ()>);
