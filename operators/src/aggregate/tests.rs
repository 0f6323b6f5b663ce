//! Goal: any order of the same additions and retractions gives what recomputing from the surviving records gives.
//! Method: random records, some of them retracted, in a random order (a retraction may come before its record);
//! the oracle works on the survivors alone.

use super::{Aggregate, AggregateError, Group, Retraction, count, max, min, sum, type_name};
use distributary_runtime::shape;
use distributary_runtime::update::Diff;
use proptest::prelude::*;
use rust_decimal::Decimal;

type Record = (i64, u32, Decimal);

fn record() -> impl Strategy<Value = Record> {
    let money = (-1_000_000_i64..1_000_000, 0_u32..4).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale));
    (prop_oneof![any::<i64>(), -3_i64..3], 0_u32..5, money)
}

/// Survivors, and a shuffled history that leads to them.
fn history() -> impl Strategy<Value = (Vec<Record>, Vec<(Record, Diff)>)> {
    (prop::collection::vec(record(), 0..12), prop::collection::vec((record(), 1_i64..4), 0..8)).prop_flat_map(
        |(survivors, retracted)| {
            let mut changes: Vec<(Record, Diff)> = survivors.iter().map(|r| (*r, 1)).collect();
            for (record, copies) in retracted {
                changes.extend([(record, copies), (record, -copies)]);
            }
            (Just(survivors), Just(changes).prop_shuffle())
        },
    )
}

fn apply<V, A: Aggregate<V>>(aggregate: &A, changes: &[(V, Diff)]) -> Group<A::State> {
    let mut group = Group::default();
    for (value, diff) in changes {
        group.add(aggregate, aggregate.input(value).unwrap(), *diff);
    }
    group
}

proptest! {
    #[test]
    fn any_order_gives_what_the_survivors_give((survivors, changes) in history()) {
        let all = (
            count(),
            sum(|r: &Record| r.1),
            sum(|r: &Record| r.2),
            min(|r: &Record| r.0),
            max(|r: &Record| r.0),
            max(|r: &Record| r.2),
        );
        let group = apply(&all, &changes);
        let expected = (!survivors.is_empty()).then(|| (
            survivors.len() as u64,
            survivors.iter().map(|r| u64::from(r.1)).sum::<u64>(),
            survivors.iter().map(|r| r.2).sum::<Decimal>(),
            survivors.iter().map(|r| r.0).min().unwrap(),
            survivors.iter().map(|r| r.0).max().unwrap(),
            survivors.iter().map(|r| r.2).max().unwrap(),
        ));
        prop_assert_eq!(group.output(&all), Ok(expected));
        prop_assert_eq!(group.is_zero(&all), survivors.is_empty());
    }

    /// Not only equal results but equal states: what a checkpoint holds does not depend on the order either.
    #[test]
    fn any_order_gives_the_same_state((survivors, changes) in history()) {
        let all = (sum(|r: &Record| r.0), sum(|r: &Record| r.2), min(|r: &Record| r.2), max(|r: &Record| r.1));
        let straight: Vec<_> = survivors.into_iter().map(|r| (r, 1)).collect();
        prop_assert_eq!(apply(&all, &changes), apply(&all, &straight));
    }

    #[test]
    fn integers_overflow_only_while_they_do_not_fit(values in prop::collection::vec(any::<i64>(), 1..20)) {
        let total = sum(|v: &i64| *v);
        let changes: Vec<_> = values.iter().map(|v| (*v, 1)).collect();
        let exact: i128 = values.iter().map(|v| i128::from(*v)).sum();
        let expected = i64::try_from(exact).map(Some).map_err(|_| AggregateError::overflow("sum(i64)"));
        prop_assert_eq!(apply(&total, &changes).output(&total), expected);
    }
}

#[test]
fn decimals_are_exact_where_their_own_addition_rounds() {
    let total = sum(|v: &Decimal| *v);
    let (tiny, huge) = (Decimal::new(1, 28), Decimal::MAX);
    assert_eq!(huge + tiny - huge, Decimal::ZERO, "this is what a running sum of decimals would give");
    assert_eq!(apply(&total, &[(huge, 1), (tiny, 1), (huge, -1)]).output(&total), Ok(Some(tiny)));
    assert_eq!(apply(&total, &[(huge, 5), (huge, -4)]).output(&total), Ok(Some(huge)));
    let overflow = AggregateError::overflow("sum(Decimal)");
    assert_eq!(apply(&total, &[(huge, 2)]).output(&total), Err(overflow.clone()));
    assert_eq!(apply(&total, &[(huge, 1), (tiny, 1)]).output(&total), Err(overflow));
}

#[test]
fn equal_decimals_are_encoded_alike() {
    let both = (sum(|v: &Decimal| *v), min(|v: &Decimal| *v));
    let (short, long) = (Decimal::new(10, 1), Decimal::new(1000, 3));
    let Ok(Some((total, least))) = apply(&both, &[(short, 1), (long, 1)]).output(&both) else { panic!("there is a result") };
    assert_eq!((total.to_string(), least.to_string()), ("2".into(), "1".into()));
}

#[test]
fn types_are_named_without_their_paths() {
    assert_eq!(type_name::<Option<(Decimal, String)>>(), "Option<(Decimal, String)>");
}

/// Text and shape decide whether a pipeline takes over the state of an older one.
#[test]
fn what_a_pipeline_knows_a_state_by_does_not_change() {
    fn known_by<A: Aggregate<i64>>(aggregate: &A) -> (String, String, Retraction) {
        (aggregate.describe(), shape::of::<A::State>(), aggregate.retraction())
    }
    let values = "alloc::collections::btree::map::BTreeMap<i64, i64>={i64 -> i64}";
    let of = |v: &i64| *v;
    for (aggregate, text, shape, retraction) in [
        (known_by(&count()), "count", "()", Retraction::Linear),
        (known_by(&sum(of)), "sum(i64)", "i128", Retraction::Linear),
        (known_by(&min(of)), "min(i64)", values, Retraction::Complete),
        (known_by(&max(of)), "max(i64)", values, Retraction::Complete),
        (known_by(&(sum(of), count())), "sum(i64), count", "(i128, ())", Retraction::Linear),
    ] {
        assert_eq!(aggregate, (text.into(), shape.into(), retraction));
    }
}
