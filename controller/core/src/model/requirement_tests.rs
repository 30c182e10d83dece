use super::{Operator, Requirement, parse_operator};
use proptest::prelude::*;
use rstest::rstest;

/// Reads `In [a b]`, `Gt 4`, `Exists` … as a requirement on `k`.
fn parse(text: &str) -> Requirement {
    let (operator, values) = text.split_once(' ').unwrap_or((text, ""));
    let values = values.trim_matches(['[', ']']).split_whitespace();
    Requirement::new("k", parse_operator(operator).unwrap(), values)
}

fn serialized(requirement: &Requirement) -> String {
    let entries = requirement.to_selectors().into_iter().map(|entry| {
        let values = entry.values.map(|values| format!(" [{}]", values.join(" "))).unwrap_or_default();
        format!("{}{values}", entry.operator)
    });
    entries.collect::<Vec<_>>().join(", ")
}

/// The measured values of spec core A.1; where exclusions inside bounds are serialised we differ on purpose.
#[rstest]
#[case("In [a b]", "Gte 5", "DoesNotExist", "DoesNotExist", false)]
#[case("In [a b]", "Lte 5", "DoesNotExist", "DoesNotExist", false)]
#[case("In [a b]", "Lt 0", "DoesNotExist", "DoesNotExist", false)]
#[case("In [1 5 9]", "Gt 4", "In [5 9]", "In [5 9]", true)]
#[case("In [1 5 9]", "Lt 6", "In [1 5]", "In [1 5]", true)]
#[case("In [1 5 9]", "Lt 5", "In [1]", "In [1]", true)]
#[case("In [1 5 9]", "NotIn [5]", "In [1 9]", "In [1 9]", true)]
#[case("In [1 5 9]", "DoesNotExist", "DoesNotExist", "DoesNotExist", false)]
#[case("NotIn [a]", "NotIn [5]", "NotIn [5 a]", "NotIn [5 a]", true)]
#[case("NotIn [a]", "Gte 5", "Exists >=5", "Gte [5]", true)]
#[case("NotIn [5]", "Gt 4", "NotIn [5] >=5", "Gte [5], NotIn [5]", true)]
#[case("NotIn [5]", "Lt 5", "Exists <=4", "Lte [4]", true)]
#[case("Exists", "Lt 0", "Exists <=-1", "Lte [-1]", true)]
#[case("Gt 4", "Lt 6", "Exists >=5 <=5", "Gte [5], Lte [5]", true)]
#[case("Gt 4", "Lt 5", "DoesNotExist", "DoesNotExist", false)]
#[case("DoesNotExist", "Exists", "DoesNotExist", "DoesNotExist", false)]
#[case("DoesNotExist", "NotIn [a]", "DoesNotExist", "DoesNotExist", false)]
#[case("DoesNotExist", "DoesNotExist", "DoesNotExist", "DoesNotExist", false)]
#[case("Exists", "NotIn [a]", "NotIn [a]", "NotIn [a], Exists", true)]
#[case("Exists", "Exists", "Exists", "Exists", true)]
fn intersects_as_measured(
    #[case] a: &str,
    #[case] b: &str,
    #[case] printed: &str,
    #[case] written: &str,
    #[case] intersects: bool,
) {
    for (a, b) in [(a, b), (b, a)] {
        let both = parse(a).intersection(&parse(b));
        assert_eq!(both.to_string(), format!("k {printed}"), "{a} and {b}");
        assert_eq!(serialized(&both), written, "{a} and {b}");
        assert_eq!(parse(a).intersects(&parse(b)), intersects, "{a} and {b}");
    }
}

#[test]
fn a_contradiction_is_not_absence() {
    let contradiction = parse("In [a]").intersection(&parse("In [b]"));
    assert!(contradiction.is_contradiction() && !contradiction.allows_absent());
    assert!(!contradiction.compatible(&parse("DoesNotExist")));
    assert!(!parse("DoesNotExist").is_contradiction());
    assert!(parse("DoesNotExist").compatible(&parse("NotIn [a]")));
}

#[test]
fn comparisons_need_one_integer() {
    for text in ["Gt a", "Gt", "Lt 1.5", "Gt 9223372036854775807", "Lt -9223372036854775808"] {
        assert!(parse(text).is_contradiction(), "{text}");
    }
}

#[test]
fn an_unknown_operator_admits_nothing() {
    let selector = k8s_openapi::api::core::v1::NodeSelectorRequirement {
        key: "k".to_owned(),
        operator: "Like".to_owned(),
        values: Some(vec!["a".to_owned()]),
    };
    assert!(Requirement::from_selector(&selector).is_contradiction());
}

#[test]
fn long_lists_are_cut_and_the_rest_is_counted() {
    let requirement = parse("In [a b c d e f g]").with_min_values(Some(2));
    assert_eq!(requirement.to_string(), "k In [a b c d e and 2 others] minValues 2");
}

#[test]
fn deprecated_keys_are_rewritten() {
    let zone = Requirement::new("failure-domain.beta.kubernetes.io/zone", Operator::In, ["a"]);
    assert_eq!(zone.key(), "topology.kubernetes.io/zone");
}

#[test]
fn the_larger_min_values_is_kept() {
    let both = parse("In [a b c]").with_min_values(Some(2)).intersection(&parse("NotIn [a]").with_min_values(Some(3)));
    assert_eq!(both.to_string(), "k In [b c] minValues 3");
}

/// What a label can be in the brute-force check: absent, or one of a few values.
const UNIVERSE: [Option<&str>; 10] =
    [None, Some("a"), Some("b"), Some("0"), Some("1"), Some("2"), Some("3"), Some("4"), Some("-1"), Some("5")];

/// Kubernetes' own reading of an operator, written out once more.
fn brute(text: &(Operator, Vec<&'static str>), state: Option<&str>) -> bool {
    let (operator, values) = text;
    let compare = |ok: fn(i64, i64) -> bool| {
        let bound: i64 = values[0].parse().unwrap();
        state.and_then(|state| state.parse().ok()).is_some_and(|value: i64| ok(value, bound))
    };
    match operator {
        Operator::In => state.is_some_and(|state| values.contains(&state)),
        Operator::NotIn => state.is_none_or(|state| !values.contains(&state)),
        Operator::Exists => state.is_some(),
        Operator::DoesNotExist => state.is_none(),
        Operator::Gt => compare(|value, bound| value > bound),
        Operator::Lt => compare(|value, bound| value < bound),
        Operator::Gte => compare(|value, bound| value >= bound),
        Operator::Lte => compare(|value, bound| value <= bound),
    }
}

fn any_selector() -> impl Strategy<Value = (Operator, Vec<&'static str>)> {
    let values = || proptest::sample::subsequence(vec!["a", "b", "0", "1", "2", "3", "4"], 0..=4);
    let integer = || proptest::sample::select(vec!["0", "1", "2", "3", "4"]).prop_map(|value| vec![value]);
    prop_oneof![
        values().prop_map(|values| (Operator::In, values)),
        values().prop_map(|values| (Operator::NotIn, values)),
        Just((Operator::Exists, Vec::new())),
        Just((Operator::DoesNotExist, Vec::new())),
        (proptest::sample::select(vec![Operator::Gt, Operator::Lt, Operator::Gte, Operator::Lte]), integer()),
    ]
}

proptest! {
    #[test]
    fn the_algebra_agrees_with_brute_force(selectors in proptest::collection::vec(any_selector(), 1..5)) {
        let requirements: Vec<Requirement> =
            selectors.iter().map(|(operator, values)| Requirement::new("k", *operator, values)).collect();
        let all = requirements.iter().skip(1).fold(requirements[0].clone(), |all, next| all.intersection(next));
        for state in UNIVERSE {
            let expected = selectors.iter().all(|selector| brute(selector, state));
            let actual = state.map_or(all.allows_absent(), |value| all.has(value));
            prop_assert_eq!(actual, expected, "{:?} of {}", state, all);
        }
    }

    #[test]
    fn pairs_agree_with_brute_force(a in any_selector(), b in any_selector(), c in any_selector()) {
        let build = |(operator, values): &(Operator, Vec<&str>)| Requirement::new("k", *operator, values);
        let left = build(&a).intersection(&build(&b));
        let right = build(&c);
        // An excluded or bounded set has values outside of the small universe too; `3000` and `x` stand for those.
        let universe = UNIVERSE.into_iter().chain([Some("3000"), Some("-3000"), Some("x")]);
        let common: Vec<_> = universe.filter(|state| [&a, &b, &c].iter().all(|selector| brute(selector, *state))).collect();
        prop_assert_eq!(left.intersects(&right), common.iter().any(Option::is_some));
        prop_assert_eq!(left.compatible(&right), !common.is_empty());
        prop_assert_eq!(left.intersection(&right).is_contradiction(), common.is_empty());
    }

    #[test]
    fn what_covers_holds_wherever_the_narrower_holds(a in any_selector(), b in any_selector(), c in any_selector()) {
        let build = |(operator, values): &(Operator, Vec<&str>)| Requirement::new("k", *operator, values);
        let narrower = build(&a).intersection(&build(&b));
        let universe = || UNIVERSE.into_iter().chain([Some("3000"), Some("-3000"), Some("x")]);
        let holds = |requirement: &Requirement, state: Option<&str>| {
            state.map_or(requirement.allows_absent(), |value| requirement.has(value))
        };
        let expected = universe().all(|state| !holds(&narrower, state) || brute(&c, state));
        // A listed set never covers an open one, though every integer of a bounded one may be listed.
        prop_assert!(!build(&c).covers(&narrower) || expected);
        prop_assert!(build(&c).covers(&narrower) || !expected || (!narrower.is_listed() && (build(&c).is_listed() || narrower.gte().is_some() || narrower.lte().is_some())));
    }

    #[test]
    fn any_value_and_what_is_written_hold(selectors in proptest::collection::vec(any_selector(), 1..4)) {
        let build = |(operator, values): &(Operator, Vec<&str>)| Requirement::new("k", *operator, values);
        let all = selectors.iter().map(build).reduce(|all, next| all.intersection(&next)).unwrap();
        prop_assert_eq!(all.any_value().is_some(), all.intersects(&all));
        prop_assert!(all.any_value().is_none_or(|value| all.has(&value)));
        let reread = all.to_selectors().iter().map(Requirement::from_selector).reduce(|all, next| all.intersection(&next));
        if !all.is_contradiction() {
            for state in UNIVERSE {
                let holds = |requirement: &Requirement| state.map_or(requirement.allows_absent(), |value| requirement.has(value));
                prop_assert_eq!(reread.as_ref().is_none_or(holds), holds(&all), "{:?} of {}", state, all);
            }
        }
    }
}
