//! Goal: any order of the same additions and retractions gives what recomputing from the surviving records gives.
//! Method: random records, some of them retracted, in a random order (a retraction may come before its record);
//! the oracle works on the survivors alone.

use super::{
    Aggregate, AggregateError, Group, Measure, Retraction, all_first_by, all_last_by, avg, bottom, collect, count, distinct,
    first_by, last_by, max, min, percentile, sum, top, type_name, when,
};
use crate::tests::seeded;
use distributary_runtime::key::encode;
use distributary_runtime::shape;
use distributary_runtime::update::Diff;
use proptest::prelude::*;
use proptest::sample::Index;
use rust_decimal::Decimal;
use std::collections::BTreeSet;

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

/// Result and state of a history against those of its survivors alone. The state as bytes: what a checkpoint holds must not
/// depend on the order either.
fn check<A: Aggregate<Record, Output: std::fmt::Debug>>(
    all: &A,
    (survivors, changes): &(Vec<Record>, Vec<(Record, Diff)>),
    recompute: impl Fn(&[Record]) -> A::Output,
) -> Result<(), TestCaseError> {
    let group = apply(all, changes);
    let straight: Vec<_> = survivors.iter().map(|r| (*r, 1)).collect();
    let expected = (!survivors.is_empty()).then(|| recompute(survivors));
    prop_assert_eq!(group.output(all), Ok(expected));
    prop_assert_eq!(group.is_zero(all), survivors.is_empty());
    prop_assert_eq!(encode(&group).unwrap(), encode(&apply(all, &straight)).unwrap());
    Ok(())
}

/// What a percentile says for a value.
fn near<T: Measure>(value: T) -> T {
    T::middle(value.interval().unwrap())
}

proptest! {
    #![proptest_config(seeded())]

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
    fn different_values_are_those_of_the_survivors(history in history()) {
        check(&(distinct(|r: &Record| r.1), distinct(|r: &Record| r.2)), &history, |records| {
            let (numbers, sums): (BTreeSet<_>, BTreeSet<_>) = records.iter().map(|r| (r.1, r.2)).unzip();
            (numbers.len() as u64, sums.len() as u64)
        })?;
    }

    #[test]
    fn a_percentile_is_nearly_that_of_the_survivors(history in history(), percent in 0_u32..101) {
        let percent_of = f64::from(percent);
        let float = |r: &Record| r.0 as f64 / 7.0;
        let all = (percentile(percent_of, |r: &Record| r.0), percentile(percent_of, |r: &Record| r.1), percentile(percent_of, float));
        let rank = |records: &[Record]| (records.len() * percent as usize).div_ceil(100).max(1) - 1;
        check(&all, &history, |records| {
            let (mut signed, mut unsigned): (Vec<_>, Vec<_>) = records.iter().map(|r| (r.0, r.1)).unzip();
            let mut floats: Vec<_> = records.iter().map(float).collect();
            signed.sort();
            unsigned.sort();
            floats.sort_by(f64::total_cmp);
            let rank = rank(records);
            (near(signed[rank]), near(unsigned[rank]), near(floats[rank]))
        })?;
    }

    #[test]
    fn what_stands_for_a_value_is_near_it(signed in any::<i64>(), shift in 0_u32..64, float in any::<f64>()) {
        let signed = signed >> shift;
        let (small, unsigned) = (signed as i8, signed as u64);
        let distance = |a: i128, b: i128| (a - b).abs() * 256;
        prop_assert!(distance(near(signed).into(), signed.into()) <= i128::from(signed.unsigned_abs()));
        prop_assert!(distance(near(unsigned).into(), unsigned.into()) <= i128::from(unsigned));
        prop_assert_eq!(near(small), small);
        if float.is_normal() {
            prop_assert!((near(float) - float).abs() <= float.abs() / 256.0, "{} for {}", near(float), float);
        }
        prop_assert_eq!([f64::NAN, f64::INFINITY].map(Measure::interval), [None; 2]);
        let others = [signed.wrapping_add(1), signed.saturating_mul(2), !signed];
        prop_assert!(others.iter().all(|other| (other <= &signed) == (other.interval() <= signed.interval()) || near(*other) == near(signed)));
    }

    #[test]
    fn the_greatest_and_the_least_are_those_of_the_survivors(history in history(), n in 0_usize..5) {
        let all = (top(n, |r: &Record| r.1), bottom(n, |r: &Record| (r.1, r.0)), top(n, |r: &Record| r.2));
        check(&all, &history, |records| {
            let mut greatest: Vec<_> = records.iter().map(|r| r.1).collect();
            let mut least: Vec<_> = records.iter().map(|r| (r.1, r.0)).collect();
            let mut sums: Vec<_> = records.iter().map(|r| r.2).collect();
            greatest.sort_by(|a, b| b.cmp(a));
            least.sort();
            sums.sort_by(|a, b| b.cmp(a));
            greatest.truncate(n);
            least.truncate(n);
            sums.truncate(n);
            (greatest, least, sums)
        })?;
    }

    #[test]
    fn the_first_and_the_last_are_those_of_the_survivors(history in history()) {
        let all = (first_by(|r: &Record| r.1, |r| r.2), last_by(|r: &Record| r.1, |r| r.2), last_by(|r: &Record| r.2, |r| r.0));
        check(&all, &history, |records| {
            let first = records.iter().map(|r| (r.1, r.2)).min().unwrap();
            let last = records.iter().map(|r| (r.1, r.2)).max().unwrap();
            (first.1, last.1, records.iter().map(|r| (r.2, r.0)).max().unwrap().1)
        })?;
    }

    #[test]
    fn those_that_share_a_place_are_those_of_the_survivors(history in history()) {
        let all = (all_first_by(|r: &Record| r.1, |r| r.2), all_last_by(|r: &Record| r.1, |r| (r.0, r.1)));
        check(&all, &history, |records| {
            let (least, greatest) = (records.iter().map(|r| r.1).min(), records.iter().map(|r| r.1).max());
            let mut first: Vec<_> = records.iter().filter(|r| Some(r.1) == least).map(|r| r.2).collect();
            let mut last: Vec<_> = records.iter().filter(|r| Some(r.1) == greatest).map(|r| (r.0, r.1)).collect();
            first.sort();
            last.sort();
            (first, last)
        })?;
    }

    #[test]
    fn all_values_are_those_of_the_survivors(history in history()) {
        check(&(collect(|r: &Record| r.2), collect(|r: &Record| (r.1, r.0))), &history, |records| {
            let mut sums: Vec<_> = records.iter().map(|r| r.2).collect();
            let mut pairs: Vec<_> = records.iter().map(|r| (r.1, r.0)).collect();
            sums.sort();
            pairs.sort();
            (sums, pairs)
        })?;
    }

    #[test]
    fn some_of_the_records_are_a_group_of_their_own(history in history()) {
        let few = |r: &Record| r.1 < 2;
        check(&(count(), when(few, (count(), max(|r: &Record| r.0)))), &history, |records| {
            let few: Vec<_> = records.iter().filter(|r| few(r)).collect();
            (records.len() as u64, few.iter().map(|r| r.0).max().map(|greatest| (few.len() as u64, greatest)))
        })?;
    }

    #[test]
    fn when_all_is_taken_back_nothing_is_left(
        records in prop::collection::vec((record(), 1_i64..4), 1..12),
        turn in any::<Index>(),
    ) {
        let linear = (count(), sum(|r: &Record| r.0), avg(|r: &Record| r.2));
        let extremes = (min(|r: &Record| r.0), max(|r: &Record| r.2), top(2, |r: &Record| r.0), bottom(2, |r: &Record| r.2));
        let values = (distinct(|r: &Record| r.1), collect(|r: &Record| r.2));
        let ends = (first_by(|r: &Record| r.1, |r| r.0), last_by(|r: &Record| r.2, |r| r.1));
        let shared = (all_first_by(|r: &Record| r.1, |r| r.0), all_last_by(|r: &Record| r.2, |r| r.1));
        let all = (linear, extremes, values, ends, shared);
        let mut changes: Vec<_> = records.iter().flat_map(|(r, copies)| [(*r, *copies), (*r, -copies)]).collect();
        // So that one of the retractions may stand before its record.
        changes.rotate_left(turn.index(records.len() * 2));
        let group = apply(&all, &changes);
        prop_assert!(group.is_zero(&all));
        prop_assert_eq!(group.output(&all), Ok(None));
        prop_assert_eq!(group, Group::default());
    }

    /// A retraction may stand in another part than its record.
    #[test]
    fn parts_merge_to_the_whole((_, changes) in history(), parts in 1_usize..5, turns in any::<[u8; 4]>()) {
        let numbers = (count(), sum(|r: &Record| r.0), sum(|r: &Record| r.2), avg(|r: &Record| r.2), avg(|r: &Record| r.1));
        let extremes = (min(|r: &Record| r.0), max(|r: &Record| r.2), top(2, |r: &Record| r.1), bottom(2, |r: &Record| r.2));
        let values = (distinct(|r: &Record| r.1), distinct(|r: &Record| r.2), collect(|r: &Record| r.2));
        let ends = (first_by(|r: &Record| r.1, |r| r.0), last_by(|r: &Record| r.2, |r| r.1));
        let shared = (all_first_by(|r: &Record| r.1, |r| r.0), all_last_by(|r: &Record| r.2, |r| r.1));
        let few = when(|r: &Record| r.1 < 2, (count(), sum(|r: &Record| r.2), max(|r: &Record| r.0)));
        let all = (numbers, extremes, values, ends, shared, few);
        let mut of_parts = vec![Vec::new(); parts];
        for (i, change) in changes.iter().enumerate() {
            of_parts[(i + usize::from(turns[i % turns.len()])) % parts].push(*change);
        }
        let mut merged = Group::default();
        of_parts.iter().for_each(|part| merged.merge(&all, &apply(&all, part)));
        let whole = apply(&all, &changes);
        prop_assert_eq!(encode(&merged).unwrap(), encode(&whole).unwrap());
        prop_assert_eq!(merged.output(&all), whole.output(&all));
    }

    #[test]
    fn a_mean_is_the_sum_of_the_survivors_by_their_number(history in history()) {
        check(&(avg(|r: &Record| r.0), avg(|r: &Record| r.1), avg(|r: &Record| r.2)), &history, |records| {
            let wide: i128 = records.iter().map(|r| i128::from(r.0)).sum();
            (
                i64::try_from(wide.div_euclid(records.len() as i128)).unwrap(),
                records.iter().map(|r| u64::from(r.1)).sum::<u64>() / records.len() as u64,
                records.iter().map(|r| r.2).sum::<Decimal>() / Decimal::from(records.len()),
            )
        })?;
    }

    /// By whole numbers: off by no more than half of its last digit, and by nothing where there is room for another digit.
    #[test]
    fn a_mean_of_decimals_is_the_nearest(values in prop::collection::vec((-10_000_i64..10_000, 0_u32..4), 1..20)) {
        let changes: Vec<_> = values.iter().map(|(mantissa, scale)| (Decimal::new(*mantissa, *scale), 1)).collect();
        let mean = avg(|v: &Decimal| *v);
        let mean = apply(&mean, &changes).output(&mean).unwrap().unwrap();
        let thousandths: i128 = values.iter().map(|(mantissa, scale)| i128::from(*mantissa) * 10_i128.pow(3 - scale)).sum();
        let parts = values.len() as i128 * 1_000;
        let off = (mean.mantissa() * parts - thousandths * 10_i128.pow(mean.scale())).abs();
        prop_assert!(off * 2 <= parts, "{} is off by {} of {} parts of its last digit", mean, off, parts);
        prop_assert!(off == 0 || mean.to_string().len() >= 28, "{} is off, and not as long as can be", mean);
    }

    #[test]
    fn a_mean_of_the_largest_decimals_is_among_them(
        values in prop::collection::vec((any::<i128>(), 0_u32..4), 1..20),
        finest in 3_u32..29,
    ) {
        let decimal = |(random, scale): &(i128, u32)| (Decimal::from_i128_with_scale(random >> 33, finest - scale), 1);
        let changes: Vec<_> = values.iter().map(decimal).collect();
        let mean = avg(|v: &Decimal| *v);
        let mean = apply(&mean, &changes).output(&mean).unwrap().unwrap();
        let (least, greatest) = (changes.iter().min().unwrap().0, changes.iter().max().unwrap().0);
        prop_assert!(least <= mean && mean <= greatest, "{} <= {} <= {}", least, mean, greatest);
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
fn a_mean_fits_where_the_sum_does_not() {
    let integers = avg(|v: &i64| *v);
    assert_eq!(apply(&integers, &[(i64::MIN, 3), (i64::MIN + 1, 1)]).output(&integers), Ok(Some(i64::MIN)));
    let decimals = avg(|v: &Decimal| *v);
    let mean = |changes: &[(Decimal, Diff)]| apply(&decimals, changes).output(&decimals);
    let (tenth, third) = (Decimal::new(1, 1), Decimal::ONE / Decimal::from(3));
    assert_eq!(mean(&[(Decimal::MAX, 5)]), Ok(Some(Decimal::MAX)));
    let two_thirds = Decimal::from_i128_with_scale(52_818_775_009_509_558_395_695_966_890, 0);
    assert_eq!(mean(&[(Decimal::MAX, 2), (tenth, 1)]), Ok(Some(two_thirds)));
    assert_eq!(mean(&[(third, 1_000_000)]), Ok(Some(third)));
    assert_eq!(mean(&[(Decimal::MAX, 1), (Decimal::new(1, 28), 1)]), Err(AggregateError::overflow("avg(Decimal)")));
}

#[test]
fn a_mean_is_rounded() {
    let (integers, decimals) = (avg(|v: &i64| *v), avg(|v: &Decimal| *v));
    assert_eq!(apply(&integers, &[(-1, 1), (0, 1)]).output(&integers), Ok(Some(-1)), "down, not towards zero");
    let text = |values: &[(i64, Diff)]| {
        let changes: Vec<_> = values.iter().map(|(v, diff)| (Decimal::new(*v, 2), *diff)).collect();
        apply(&decimals, &changes).output(&decimals).unwrap().unwrap().to_string()
    };
    assert_eq!(text(&[(150, 1), (250, 1)]), "2");
    assert_eq!(text(&[(200, 1), (0, 2)]), "0.6666666666666666666666666667");
    assert_eq!(text(&[(-200, 1), (0, 2)]), "-0.6666666666666666666666666667");
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
    let pairs = "alloc::collections::btree::map::BTreeMap<(i64, i64), i64>={(i64, i64) -> i64}";
    let counted = "distributary_operators::aggregate::distinct::DistinctValues<i64>=\
                   DistinctValues{values,present: {i64 -> i64}, u64}";
    let of = |v: &i64| *v;
    for (aggregate, text, shape, retraction) in [
        (known_by(&count()), "count", "()", Retraction::Linear),
        (known_by(&sum(of)), "sum(i64)", "i128", Retraction::Linear),
        (known_by(&avg(of)), "avg(i64)", "i128", Retraction::Linear),
        (known_by(&min(of)), "min(i64)", values, Retraction::Complete),
        (known_by(&max(of)), "max(i64)", values, Retraction::Complete),
        (known_by(&distinct(of)), "distinct(i64)", counted, Retraction::Complete),
        (known_by(&top(3, of)), "top(3, i64)", values, Retraction::Complete),
        (known_by(&bottom(3, of)), "bottom(3, i64)", values, Retraction::Complete),
        (known_by(&first_by(of, of)), "first_by(i64, i64)", pairs, Retraction::Complete),
        (known_by(&last_by(of, of)), "last_by(i64, i64)", pairs, Retraction::Complete),
        (known_by(&all_first_by(of, of)), "all_first_by(i64, i64)", pairs, Retraction::Complete),
        (known_by(&all_last_by(of, of)), "all_last_by(i64, i64)", pairs, Retraction::Complete),
        (known_by(&collect(of)), "collect(i64)", values, Retraction::Complete),
        (known_by(&(sum(of), count())), "sum(i64), count", "(i128, ())", Retraction::Linear),
    ] {
        assert_eq!(aggregate, (text.into(), shape.into(), retraction));
    }
}
