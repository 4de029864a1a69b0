use serde_json::{Value, json};

use super::*;
use crate::engine::Endpoints;
use crate::key::KeyRule;

const ENDPOINT: Policy = Policy::new(Duration::from_hours(24));

/// The document of an endpoint with this extension and these answers.
fn document(extension: &Value, responses: &Value) -> OpenApi {
    let document = json!({
        "openapi": "3.1.0",
        "info": {"title": "", "version": ""},
        "paths": {
            "/payments": {
                "post": {"responses": responses, "x-idempotency": extension},
                "get": {"responses": {"200": {"description": "all"}}},
            },
        },
        "components": {
            "responses": {"Refused": {"description": "refused"}},
        },
    });
    serde_json::from_value(document).unwrap()
}

/// The same, described with `config`.
fn described(extension: &Value, responses: &Value, config: &Config) -> Value {
    let mut document = document(extension, responses);
    describe(&mut document, config);
    let once = serde_json::to_value(&document).unwrap();
    describe(&mut document, config);
    assert_eq!(serde_json::to_value(document).unwrap(), once);
    once
}

fn in_header() -> Value {
    published(&ENDPOINT, KeyPlace::HEADER, true, true, true)
}

/// The operation of `described`.
fn operation(extension: &Value, responses: &Value, config: &Config) -> Value {
    described(extension, responses, config)["paths"]["/payments"]["post"].clone()
}

/// The problem types in the answers with `status`, without their base.
fn types(operation: &Value, status: &str) -> Vec<String> {
    let schema = &operation["responses"][status]["content"][PROBLEM]["schema"];
    let types = schema["allOf"][1]["properties"]["type"]["enum"].as_array();
    let types = types
        .into_iter()
        .flatten()
        .map(|name| name.as_str().unwrap());
    types
        .map(|name| name.rsplit(['#', '/']).next().unwrap().to_owned())
        .collect()
}

#[test]
fn p1_each_status_has_the_types_that_the_endpoint_can_answer() {
    let operation = operation(&in_header(), &json!({}), &Config::new());
    assert_eq!(types(&operation, "400"), ["key-missing", "key-malformed"]);
    assert_eq!(types(&operation, "409"), ["in-flight"]);
    assert_eq!(types(&operation, "422"), ["key-reused"]);
    assert_eq!(
        types(&operation, "503"),
        ["try-again", "outcome-unknown", "unavailable"]
    );
    assert_eq!(
        types(&operation, "500"),
        [
            "handler-panicked",
            "transaction-lost",
            "response-too-large",
            "record-unreadable",
            "misconfigured"
        ]
    );
    assert!(operation["responses"].get("429").is_none());
    let parameter = &operation["parameters"][0];
    assert_eq!(parameter["name"], "Idempotency-Key");
    assert_eq!(
        (&parameter["in"], &parameter["required"]),
        (&json!("header"), &json!(true))
    );
    assert_eq!(parameter["schema"]["pattern"], KEY);
    let base = crate::problem::DEFAULT_BASE;
    assert_eq!(
        operation["x-idempotency"],
        json!({
            "ttl": "PT24H", "replay": "final", "bound": true, "scoped": true, "steps": false, "body": true,
            "key": {"headers": ["Idempotency-Key"], "required": true}, "problems": base,
        })
    );
    let retry_after = |status: &str| {
        operation["responses"][status]["headers"]
            .get("Retry-After")
            .is_some()
    };
    assert_eq!(
        ["409", "503", "422", "500"].map(retry_after),
        [true, true, false, false]
    );
}

#[test]
fn nothing_is_said_that_does_not_hold_for_the_endpoint() {
    let policy = ENDPOINT
        .with_lease(Duration::from_secs(10))
        .with_replay(Replay::Success);
    let extension = published(&policy, KeyPlace::Field("id"), false, false, false);
    let operation = operation(&extension, &json!({}), &Config::new());
    assert!(operation.get("parameters").is_none());
    assert_eq!(types(&operation, "400"), ["key-malformed"]);
    assert_eq!(types(&operation, "409"), ["in-flight", "step-uncertain"]);
    assert!(operation["responses"].get("422").is_none());
    let contract = &operation["x-idempotency"];
    assert_eq!(contract["key"], json!({"field": "id", "required": false}));
    assert_eq!(
        (&contract["replay"], &contract["steps"]),
        (&json!("success"), &json!(true))
    );
}

#[test]
fn the_engine_settings_are_in_the_document() {
    let config = Config::new()
        .try_with_header("x-request-key")
        .unwrap()
        .with_key_rule(KeyRule::uuid())
        .with_key_echo()
        .with_problem_base("https://example.com/");
    let answers = json!({"201": {"description": "paid"}});
    let own = operation(&in_header(), &answers, &config);
    assert_eq!(own["parameters"][0]["name"], "X-Request-Key");
    let description = own["parameters"][0]["description"].as_str().unwrap();
    assert!(description.contains("must be a UUID"), "{description}");
    assert_eq!(
        own["x-idempotency"]["key"]["headers"],
        json!(["X-Request-Key"])
    );
    assert_eq!(own["x-idempotency"]["problems"], "https://example.com/");
    for status in ["201", "400", "503"] {
        assert!(
            own["responses"][status]["headers"]
                .get("X-Request-Key")
                .is_some()
        );
    }
    let types =
        &own["responses"]["409"]["content"][PROBLEM]["schema"]["allOf"][1]["properties"]["type"];
    assert_eq!(types["enum"], json!(["https://example.com/in-flight"]));

    let several = KeyPlace::Headers(&["webhook-id", "svix-id"]);
    let extension = published(&ENDPOINT, several, true, true, true);
    let several = operation(&extension, &json!({}), &config);
    for (index, name) in ["Webhook-Id", "Svix-Id"].into_iter().enumerate() {
        let parameter = &several["parameters"][index];
        assert_eq!(
            (&parameter["name"], &parameter["required"]),
            (&json!(name), &json!(false))
        );
    }
}

#[cfg(feature = "rate-limit")]
#[test]
fn l4_a_rate_is_documented_where_it_counts() {
    let limit = crate::RateLimit::per_second(1);
    let unscoped = published(&ENDPOINT, KeyPlace::HEADER, true, true, false);
    for (config, extension, expected) in [
        (Config::new().with_scope_rate(limit), &in_header(), true),
        (Config::new().with_scope_rate(limit), &unscoped, false),
        (Config::new().with_key_rate(limit), &unscoped, true),
    ] {
        let operation = operation(extension, &json!({}), &config);
        assert_eq!(!types(&operation, "429").is_empty(), expected);
    }
}

#[test]
fn answers_of_the_application_are_kept() {
    let problem = json!({"type": "object"});
    let content = json!({PROBLEM: {"schema": problem}, "text/plain": {}});
    let answers = json!({
        "201": {"description": "paid"},
        "409": {"$ref": "#/components/responses/Refused"},
        "422": {"description": "not an amount", "content": content},
        "5XX": {"description": "failed", "content": content},
    });
    let operation = operation(&in_header(), &answers, &Config::new());
    let responses = &operation["responses"];
    let unprocessable = &responses["422"];
    assert_eq!(
        unprocessable["description"],
        "not an amount\n- `key-reused`: Idempotency key was used for another request"
    );
    assert!(unprocessable["content"].get("text/plain").is_some());
    let either = &unprocessable["content"][PROBLEM]["schema"]["anyOf"];
    assert_eq!(either[0], problem);
    assert_eq!(
        either[1]["allOf"][0]["$ref"],
        "#/components/schemas/IdempotencyProblem"
    );
    // A status of its own would hide the range.
    assert_eq!(
        responses["503"]["content"][PROBLEM]["schema"]["anyOf"][0],
        problem
    );
    assert!(
        responses["409"]["description"]
            .as_str()
            .unwrap()
            .starts_with("refused\n")
    );
    // What is recorded by O2 to O5 can be a replay.
    let is_marked = |status: &str| {
        responses[status]["headers"]
            .get("Idempotency-Replayed")
            .is_some()
    };
    let statuses = ["201", "422", "409", "503"];
    assert_eq!(statuses.map(is_marked), [true, true, false, false]);
}

#[test]
fn r11_a_replay_without_a_body_is_marked() {
    let extension = published(
        &ENDPOINT.with_head_only(),
        KeyPlace::HEADER,
        true,
        true,
        true,
    );
    let answers = json!({"201": {"description": "paid"}});
    let operation = operation(&extension, &answers, &Config::new());
    assert!(
        operation["responses"]["201"]["headers"]
            .get("Idempotency-Body")
            .is_some()
    );
    assert_eq!(operation["x-idempotency"]["body"], false);
}

#[test]
fn what_is_not_protected_is_left_alone() {
    let document = described(&json!("of another tool"), &json!({}), &Config::new());
    let paths = &document["paths"]["/payments"];
    assert_eq!(
        paths["get"]["responses"],
        json!({"200": {"description": "all"}})
    );
    assert_eq!(paths["post"]["responses"], json!({}));
    assert!(document["components"].get("schemas").is_none());
}

#[test]
fn an_operation_without_a_contract_is_known_at_its_first_request() {
    let mut document = document(&in_header(), &json!({}));
    let endpoints = Endpoints::default();
    let create = Operation::of_route("POST", "/payments");
    let list = Operation::of_route("GET", "/payments");
    assert!(!endpoints.lacks_contract(&list));
    endpoints.described(describe(&mut document, &Config::new()));
    assert!(endpoints.lacks_contract(&list) && !endpoints.lacks_contract(&create));
}

#[test]
fn a_duration_is_whole_in_its_unit() {
    for (seconds, text) in [(86_400, "PT24H"), (5_400, "PT90M"), (45, "PT45S")] {
        assert_eq!(iso8601(Duration::from_secs(seconds)), text);
    }
}

#[test]
fn c7_an_early_answer_is_named_beside_the_application_s_own() {
    let policy = ENDPOINT.with_respond_within(Duration::from_secs(5));
    let extension = published(&policy, KeyPlace::HEADER, true, true, true);
    let own = json!({"202": {"description": "queued", "content": {"application/json": {"schema": {"type": "string"}}}}});
    let operation = operation(&extension, &own, &Config::new());
    assert_eq!(operation["x-idempotency"]["respond_within"], "PT5S");
    assert_eq!(operation["parameters"][0]["name"], "Prefer");
    let answer = &operation["responses"]["202"];
    let schemas = &answer["content"]["application/json"]["schema"]["anyOf"];
    assert_eq!(schemas[0], json!({"type": "string"}));
    assert_eq!(
        schemas[1]["properties"]["status"]["enum"],
        json!(["pending"])
    );
    let description = answer["description"].as_str().unwrap();
    assert!(
        description.starts_with("queued\n- pending"),
        "{description}"
    );
    for header in ["Preference-Applied", "Retry-After", "Idempotency-Replayed"] {
        assert!(answer["headers"].get(header).is_some(), "{header}");
    }
}

#[test]
fn p6_r13_forms_and_names_of_the_application_are_respected() {
    let config = Config::new()
        .with_problem_form(|_| crate::ProblemForm::new("text/plain", ""))
        .try_with_marker(Marker::Replayed, "Idempotent-Replayed")
        .unwrap();
    let own = json!({"201": {"description": "paid"}, "409": {"description": "", "content": {"text/plain": {}}}});
    let document = described(&in_header(), &own, &config);
    let responses = &document["paths"]["/payments"]["post"]["responses"];
    assert_eq!(responses["409"]["content"], json!({"text/plain": {}}));
    assert_eq!(
        responses["409"]["description"],
        "- `in-flight`: First request is still in flight"
    );
    let headers = &responses["201"]["headers"];
    assert!(
        headers.get("Idempotent-Replayed").is_some()
            && headers.get("Idempotency-Replayed").is_none()
    );
    assert!(
        document["components"]
            .get("schemas")
            .is_none_or(|schemas| schemas.get(SCHEMA).is_none())
    );
}
