//! Tuples of aggregates: each takes its input from the same record.

use super::{Aggregate, AggregateError, Retraction};
use distributary_runtime::update::Diff;

macro_rules! tuple {
    ($($aggregate:ident $i:tt),+) => {
        /// Takes all inputs before it adds any, so a record counts in all of them or in none.
        impl<V, $($aggregate: Aggregate<V>),+> Aggregate<V> for ($($aggregate,)+) {
            type Input = ($($aggregate::Input,)+);
            type State = ($($aggregate::State,)+);
            type Output = ($($aggregate::Output,)+);

            #[inline]
            fn input(&self, value: &V) -> Result<Self::Input, AggregateError> {
                Ok(($(self.$i.input(value)?,)+))
            }

            #[inline]
            fn add(&self, state: &mut Self::State, input: Self::Input, diff: Diff) {
                $(self.$i.add(&mut state.$i, input.$i, diff);)+
            }

            fn merge(&self, into: &mut Self::State, from: &Self::State) {
                $(self.$i.merge(&mut into.$i, &from.$i);)+
            }

            fn is_zero(&self, state: &Self::State) -> bool {
                $(self.$i.is_zero(&state.$i))&&+
            }

            fn output(&self, state: &Self::State, records: u64) -> Result<Self::Output, AggregateError> {
                Ok(($(self.$i.output(&state.$i, records)?,)+))
            }

            fn describe(&self) -> String {
                [$(self.$i.describe()),+].join(", ")
            }

            fn retraction(&self) -> Retraction {
                Retraction::Linear$(.and(self.$i.retraction()))+
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
