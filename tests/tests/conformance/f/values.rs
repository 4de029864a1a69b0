//! What a key is bound to: values, their types, and what is chosen.

use idem_tests::{Database, Deploy, Framework, World, conformance};

use super::request::Then::{Mismatches, Replays};
use super::request::{JSON, compare};

conformance![
    f2_integers_are_exact,
    f2_floats_are_bound_by_their_bits_except_zero,
    f2_order_of_a_map_does_not_matter,
    f2_types_are_told_apart,
    f2_struct_and_flattened_map_are_equal,
    f3_optional_field_added_in_a_deploy_changes_nothing,
    f4_function_chooses_what_is_bound,
    f4_raw_binds_the_bytes_alone,
];

async fn f2_integers_are_exact<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let body = |integer: &str| format!(r#"{{"integer":{integer},"float":0,"map":{{}}}}"#);
    let pairs = [
        ("9007199254740993", "9007199254740992"),
        ("18446744073709551615", "18446744073709551616"),
        (
            "170141183460469231731687303715884105727",
            "170141183460469231731687303715884105726",
        ),
        (
            "-170141183460469231731687303715884105728",
            "-170141183460469231731687303715884105727",
        ),
        ("-1", "1"),
        ("256", "1"),
    ];
    let request = world.instance().await.post("/numbers");
    for (number, (one, other)) in pairs.into_iter().enumerate() {
        let request = request.clone().key(format!("key-{number}"));
        let first = request.clone().json(&body(one)).send().await;
        first.assert_executed(201);
        let other = request.clone().json(&body(other)).send().await;
        other.assert_problem("key-reused");
        let spaced = format!("{} ", body(one));
        request.json(&spaced).send().await.assert_replays(&first);
    }
}

async fn f2_floats_are_bound_by_their_bits_except_zero<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let with = |float: &str| format!(r#"{{"integer":1,"float":{float},"map":{{}}}}"#);
    let one = with("0.1");
    let bodies = [
        (with("-0.0"), with("0"), Replays),
        (one.clone(), with("0.10"), Replays),
        (one.clone(), with("1e-1"), Replays),
        (one.clone(), with("0.10000000000000002"), Mismatches),
        (with("1"), with("-1"), Mismatches),
        (with("5e-324"), with("0.0"), Mismatches),
    ];
    let cases: Vec<_> = bodies
        .iter()
        .map(|(a, b, then)| {
            (
                a.as_str(),
                b.as_str(),
                if matches!(then, Replays) {
                    Replays
                } else {
                    Mismatches
                },
            )
        })
        .collect();
    compare(world, "/numbers", JSON, &cases).await;
}

async fn f2_order_of_a_map_does_not_matter<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let many = r#"{"integer":1,"float":1,"map":{"a":1,"b":2,"c":3,"d":4,"e":5}}"#;
    let cases = [
        (
            many,
            r#"{"integer":1,"float":1,"map":{"e":5,"c":3,"d":4,"b":2,"a":1}}"#,
            Replays,
        ),
        (
            many,
            r#"{"integer":1,"float":1,"map":{"a":2,"b":1,"c":3,"d":4,"e":5}}"#,
            Mismatches,
        ),
        (
            many,
            r#"{"integer":1,"float":1,"map":{"ab":1,"":2,"c":3,"d":4,"e":5}}"#,
            Mismatches,
        ),
        (
            many,
            r#"{"integer":1,"float":1,"map":{"a":1,"b":2,"c":3,"d":4}}"#,
            Mismatches,
        ),
    ];
    compare(world, "/numbers", JSON, &cases).await;
}

async fn f2_types_are_told_apart<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let cases = [
        (r#"{"x":1}"#, r#"{"x":"1"}"#, Mismatches),
        (r#"{"x":true}"#, r#"{"x":1}"#, Mismatches),
        (r#"{"x":null}"#, r#"{"x":"null"}"#, Mismatches),
        (r#"{"x":[]}"#, r#"{"x":{}}"#, Mismatches),
        (r#"[["a"],"b"]"#, r#"[["a","b"]]"#, Mismatches),
        (r#"["a","b"]"#, r#"["ab"]"#, Mismatches),
        (r#"[["a","b"],[]]"#, r#"[["a"],["b"]]"#, Mismatches),
        ("[1,2]", "[2,1]", Mismatches),
        (r#"{"x":{"y":1}}"#, r#"{"x":{"y":1}} "#, Replays),
    ];
    compare(world, "/value", JSON, &cases).await;
}

async fn f2_struct_and_flattened_map_are_equal<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let before = world.deployed(Deploy::First).await;
    let after = world.deployed(Deploy::Second).await;
    let body = r#"{"label":"a","first":1,"second":2}"#;
    let request = before.post("/fields").key("k").json(body);
    let first = request.send().await;
    first.assert_executed(201);
    let after = request.to(after.address);
    let spaced = after
        .clone()
        .json(r#"{"second": 2, "label": "a", "first": 1}"#);
    spaced.send().await.assert_replays(&first);
    let other = after.json(r#"{"label":"a","first":2,"second":1}"#);
    other.send().await.assert_problem("key-reused");
}

async fn f3_optional_field_added_in_a_deploy_changes_nothing<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let before = world.deployed(Deploy::First).await;
    let after = world.deployed(Deploy::Second).await;
    let request = before.post("/grown").key("k").json(r#"{"label":"a"}"#);
    let first = request.send().await;
    first.assert_executed(201);
    let after = request.to(after.address);
    for same in [r#"{ "label": "a" }"#, r#"{"label":"a","note":null}"#] {
        let replay = after.clone().json(same).send().await;
        replay.assert_replays(&first);
    }
    let other = after.json(r#"{"label":"a","note":"new"}"#).send().await;
    other.assert_problem("key-reused");
}

async fn f4_function_chooses_what_is_bound<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let body = r#"{"label":"a","note":"first"}"#;
    let cases = [
        (body, r#"{"label":"a","note":"again"}"#, Replays),
        (body, r#"{"label":"b","note":"first"}"#, Mismatches),
    ];
    compare(world, "/intended", JSON, &cases).await;
}

async fn f4_raw_binds_the_bytes_alone<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let cases = [
        (r#"{"label":"a"}"#, r#"{"label":"a"}"#, Replays),
        (r#"{"label":"a"}"#, r#"{"label": "a"}"#, Mismatches),
        (r#"{"label":"a"}"#, r#"{"label":"a","trace":1}"#, Mismatches),
    ];
    compare(world, "/raw", JSON, &cases).await;
}
