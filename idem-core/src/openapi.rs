//! The contract of the endpoints in an application's OpenAPI document, feature `utoipa`.
//!
//! The attribute writes its own facts into the operation, as the extension `x-idempotency`. The rest depends on the engine's
//! settings, which exist at run time only: so [`Engine::describe`] completes the operations of a finished document.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    Operation as Described, Parameter, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::schema::{AllOfBuilder, AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{
    Content, Header, OpenApi, Ref, RefOr, Required, Response, Responses, SchemaFormat,
};

use crate::config::Config;
use crate::engine::Engine;
use crate::key::{KeyError, KeyPlace};
use crate::operation::Operation;
use crate::policy::{Policy, Replay, Settle};
use crate::problem::Problem;
use crate::response::Marker;
use crate::store::Store;

#[cfg(test)]
mod tests;

const EXTENSION: &str = "x-idempotency";
const SCHEMA: &str = "IdempotencyProblem";
const PROBLEM: &str = "application/problem+json";
const JSON: &str = "application/json";

/// A key in a header: bare, or as an RFC 9651 string (rules K2 and K3).
const KEY: &str = r#"^([!#-+\--\[\]-~]{1,255}|"[!#-+\--\[\]-~]{1,255}")$"#;

impl<S: Store> Engine<S> {
    /// Completes an OpenAPI document with the contract of the protected endpoints: the key's parameter, the library's
    /// [problem documents](crate::problem) and the headers of a replay.
    ///
    /// An endpoint is known by its extension `x-idempotency`, which `#[idempotent]` adds to a `#[utoipa::path]` **below**
    /// it. Nothing else of the document is changed. An answer that the document has already is kept: for a status with
    /// two of them, either schema holds.
    ///
    /// A protected endpoint whose operation has no contract is named in the log, at its first request.
    ///
    /// The names of headers and the types of problems are those of this engine. An application with two engines whose
    /// settings differ makes a document for each, and merges them.
    pub fn describe(&self, document: &mut OpenApi) {
        let without_contract = describe(document, &self.shared.config);
        self.shared.endpoints.described(without_contract);
    }
}

/// The extension of an operation: the contract, for programs.
#[derive(Debug, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a member of the extension"
)]
struct Contract {
    /// How long an answer is replayed, as an ISO 8601 duration.
    ttl: String,
    /// Which answers are recorded.
    replay: Replay,
    key: Key,
    /// Whether another request with a known key is refused.
    bound: bool,
    /// Whether a key belongs to an owner.
    scoped: bool,
    /// Whether finished steps of a failed request stay.
    steps: bool,
    /// Whether a replay has the body of the first answer.
    body: bool,
    /// After which time a client that prefers it gets an early answer, as an ISO 8601 duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    respond_within: Option<String>,
    /// The beginning of the problems' types, once an engine has described them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problems: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Key {
    required: bool,
    #[serde(flatten)]
    place: Place,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    /// The first of them that a request has. Empty for the application's header, before its name is known.
    Headers(Vec<String>),
    /// A field of the body, the path or the query.
    Field(String),
}

/// The extension that the attribute writes.
pub fn published(
    policy: &Policy,
    place: KeyPlace,
    required: bool,
    bound: bool,
    scoped: bool,
) -> Value {
    let place = match place {
        KeyPlace::Headers(names) => {
            Place::Headers(names.iter().map(|name| title_case(name)).collect())
        }
        KeyPlace::Field(name) => Place::Field(name.to_owned()),
    };
    let contract = Contract {
        ttl: iso8601(policy.ttl),
        replay: policy.replay,
        key: Key { required, place },
        bound,
        scoped,
        steps: policy.lease.is_some(),
        body: !policy.is_head_only,
        respond_within: policy.respond_within.map(iso8601),
        problems: None,
    };
    // Serializing strings and flags to JSON can't fail.
    serde_json::to_value(contract).unwrap_or_default()
}

fn iso8601(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds.is_multiple_of(3600) => format!("PT{}H", seconds / 3600),
        seconds if seconds.is_multiple_of(60) => format!("PT{}M", seconds / 60),
        seconds => format!("PT{seconds}S"),
    }
}

/// A header's name as people write it.
fn title_case(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

/// Completes the operations with a contract, and returns the others.
fn describe(document: &mut OpenApi, config: &Config) -> HashSet<Operation> {
    let mut others = HashSet::new();
    let mut found = false;
    let components = document.components.get_or_insert_default();
    for (path, item) in &mut document.paths.paths {
        for (method, described) in operations(item) {
            match contract(described) {
                None => {
                    others.insert(Operation::of_route(method, path));
                }
                Some(contract) if contract.problems.is_some() => {}
                Some(contract) => {
                    inline(&mut described.responses, &components.responses);
                    complete(described, contract, config);
                    found = true;
                }
            }
        }
    }
    if found && config.problem_form.is_none() {
        let schemas = &mut components.schemas;
        schemas.insert(SCHEMA.to_owned(), problem_schema());
    }
    others
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&str, &mut Described)> {
    let PathItem {
        get,
        put,
        post,
        delete,
        options,
        head,
        patch,
        trace,
        query,
        additional_operations,
        ..
    } = item;
    let named = [
        ("GET", get),
        ("PUT", put),
        ("POST", post),
        ("DELETE", delete),
        ("OPTIONS", options),
        ("HEAD", head),
        ("PATCH", patch),
        ("TRACE", trace),
        ("QUERY", query),
    ];
    let named = named
        .into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_mut()?)));
    named.chain(
        additional_operations
            .iter_mut()
            .map(|(method, operation)| (method.as_str(), operation)),
    )
}

/// Puts answers in the place of references to them, so that they can be completed for one operation.
fn inline(responses: &mut Responses, components: &BTreeMap<String, RefOr<Response>>) {
    for response in responses.responses.values_mut() {
        if let RefOr::Ref(reference) = response
            && let Some(name) = reference
                .ref_location
                .strip_prefix("#/components/responses/")
            && let Some(RefOr::T(named)) = components.get(name)
        {
            *response = RefOr::T(named.clone());
        }
    }
}

fn complete(operation: &mut Described, contract: Contract, config: &Config) {
    mark_recorded(&mut operation.responses, &contract, config);
    add_problems(&mut operation.responses, &contract, config);
    add_early_answer(&mut operation.responses, &contract, config);
    let contract = contract.completed(config);
    add_parameters(operation, &contract, config);
    if let Some(extensions) = &mut operation.extensions {
        let value = serde_json::to_value(contract).unwrap_or_default();
        extensions.insert(EXTENSION.to_owned(), value);
    }
}

fn contract(operation: &Described) -> Option<Contract> {
    let value = operation.extensions.as_ref()?.get(EXTENSION)?;
    serde_json::from_value(value.clone()).ok()
}

impl Contract {
    fn completed(mut self, config: &Config) -> Self {
        if let Place::Headers(names) = &mut self.key.place
            && names.is_empty()
        {
            names.push(title_case(config.header.as_str()));
        }
        self.problems = Some(config.problem_base.to_string());
        self
    }

    /// Whether an answer with this status can be recorded. The document can also name a range, or all others.
    fn records(&self, status: &str) -> bool {
        let Ok(status) = status.replace('X', "0").parse::<StatusCode>() else {
            return true;
        };
        let policy = Policy::new(Duration::ZERO).with_replay(self.replay);
        [false, true].into_iter().any(|is_err| {
            let settle = policy.classify_status(status, is_err);
            matches!(settle, Settle::Commit | Settle::Final)
        })
    }

    /// The problems that a client of this endpoint can meet.
    fn problems(&self, config: &Config) -> Vec<Problem> {
        let of = |condition: bool, problem| condition.then_some(problem);
        [
            of(self.key.required, Problem::KeyMissing),
            Some(Problem::KeyMalformed(KeyError::Empty)),
            of(self.bound, Problem::KeyReused),
            Some(Problem::InFlight),
            of(
                config.rates.limit(self.scoped),
                Problem::TooManyRetries { retry_after: 1 },
            ),
            Some(Problem::TryAgain),
            Some(Problem::OutcomeUnknown),
            Some(Problem::Unavailable),
            Some(Problem::HandlerPanicked),
            Some(Problem::TransactionAborted),
            Some(Problem::TransactionEnded),
            of(self.steps, Problem::StepUncertain),
            Some(Problem::ResponseTooLarge),
            Some(Problem::RecordUnreadable),
            Some(Problem::Misconfigured),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn add_parameters(operation: &mut Described, contract: &Contract, config: &Config) {
    if contract.respond_within.is_some() {
        let wish = "`respond-async`, with `wait=` and seconds for less than the endpoint's own time: the answer is 202 if the \
                    request takes longer, and the same request again is the poll";
        add_parameter(operation, "Prefer", false, wish, string());
    }
    let Place::Headers(names) = &contract.key.place else {
        return;
    };
    let rules = config
        .key_rules
        .iter()
        .map(|rule| format!("; {}", rule.error()));
    let description = format!(
        "A value that is new for each intended effect, and the same for each repetition of a request{}",
        rules.collect::<String>()
    );
    // Of several headers, each can be missing.
    let required = contract.key.required && names.len() == 1;
    for name in names {
        let schema = string().pattern(Some(KEY));
        add_parameter(operation, name, required, &description, schema);
    }
}

fn add_parameter(
    operation: &mut Described,
    name: &str,
    required: bool,
    description: &str,
    schema: ObjectBuilder,
) {
    let parameters = operation.parameters.get_or_insert_default();
    if parameters.iter().any(|known| is_header(known, name)) {
        return;
    }
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(if required {
            Required::True
        } else {
            Required::False
        })
        .description(Some(description))
        .schema(Some(schema))
        .build();
    parameters.push(RefOr::T(parameter));
}

fn is_header(parameter: &RefOr<Parameter>, name: &str) -> bool {
    match parameter {
        RefOr::T(parameter) => {
            parameter.parameter_in == ParameterIn::Header
                && parameter.name.eq_ignore_ascii_case(name)
        }
        RefOr::Ref(_) => false,
    }
}

/// Adds the headers of recorded answers and of their replays to the application's own answers.
fn mark_recorded(responses: &mut Responses, contract: &Contract, config: &Config) {
    for (status, response) in &mut responses.responses {
        if let RefOr::T(response) = response
            && contract.records(status)
        {
            mark(response, contract, config);
        }
    }
}

fn mark(response: &mut Response, contract: &Contract, config: &Config) {
    let replayed = string().enum_values(Some(["true"]));
    let name = |marker| config.markers.of(marker);
    let is_replay = "Marks a replay";
    add_header(response, name(Marker::Replayed), is_replay, replayed);
    let expires = string().pattern(Some("^@[0-9]+$"));
    let end = "The end of the time in which this answer is replayed, as an RFC 9651 Date";
    add_header(response, name(Marker::Expires), end, expires);
    if !contract.body {
        let omitted = string().enum_values(Some(["omitted"]));
        add_header(
            response,
            name(Marker::Body),
            "Marks a replay without the body of the first answer",
            omitted,
        );
    }
    echo_key(response, config);
}

fn echo_key(response: &mut Response, config: &Config) {
    if config.echoes_key {
        add_header(response, &config.header, "The key of the request", string());
    }
}

fn add_header(
    response: &mut Response,
    name: &HeaderName,
    description: &str,
    schema: ObjectBuilder,
) {
    let header: Header = HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(description))
        .build();
    let headers = &mut response.headers;
    headers
        .entry(title_case(name.as_str()))
        .or_insert(header.into());
}

fn add_problems(responses: &mut Responses, contract: &Contract, config: &Config) {
    let problems = contract.problems(config);
    for code in [400, 409, 422, 429, 500, 503] {
        let problems = problems.iter().filter(|problem| problem.status() == code);
        let problems: Vec<Problem> = problems.copied().collect();
        if problems.is_empty() {
            continue;
        }
        let responses = &mut responses.responses;
        // A status of its own hides the range that it is in, so it takes over what the range says.
        let range = format!("{}XX", code / 100);
        let known = [code.to_string(), range, "default".to_owned()]
            .iter()
            .find_map(|status| responses.get(status))
            .cloned();
        let RefOr::T(mut response) = known.unwrap_or_else(|| Response::new("").into()) else {
            continue;
        };
        add_answers(&mut response, &problems, contract, config);
        responses.insert(code.to_string(), response.into());
    }
}

fn add_answers(
    response: &mut Response,
    problems: &[Problem],
    contract: &Contract,
    config: &Config,
) {
    let mut names: Vec<&str> = problems.iter().map(|problem| problem.name()).collect();
    names.dedup(); // two of them have one name
    let types = names
        .iter()
        .map(|name| format!("{}{name}", config.problem_base));
    let kinds = ObjectBuilder::new().property("type", string().enum_values(Some(types)));
    let schema: RefOr<Schema> = AllOfBuilder::new()
        .item(Ref::from_schema_name(SCHEMA))
        .item(kinds)
        .into();
    // The form of the application's own is the application's to describe.
    if config.problem_form.is_none() {
        add_schema(response, PROBLEM, schema);
    }
    for problem in problems {
        let (name, title) = (problem.name(), problem.title(contract.steps));
        add_line(response, &format!("- `{name}`: {title}"));
        if problem.retry_after().is_some() {
            add_retry_after(response);
        }
        if *problem == Problem::TransactionEnded {
            mark(response, contract, config);
        }
    }
    echo_key(response, config);
}

/// The answer to a client that does not wait for the end of the attempt (rule C7).
fn add_early_answer(responses: &mut Responses, contract: &Contract, config: &Config) {
    if contract.respond_within.is_none() {
        return;
    }
    let responses = &mut responses.responses;
    let known = responses.entry("202".to_owned());
    let RefOr::T(response) = known.or_insert_with(|| Response::new("").into()) else {
        return;
    };
    let pending = string().enum_values(Some(["pending"]));
    let schema = ObjectBuilder::new()
        .property("status", pending)
        .required("status");
    add_schema(response, JSON, schema.into());
    let line = "- pending, for `Prefer: respond-async`: the request goes on, and the same request again gets its answer";
    add_line(response, line);
    let applied = string().enum_values(Some(["respond-async"]));
    let name = HeaderName::from_static("preference-applied");
    add_header(response, &name, "Marks an early answer", applied);
    add_retry_after(response);
    echo_key(response, config);
}

/// One more form of a body: any of them holds.
fn add_schema(response: &mut Response, content_type: &str, schema: RefOr<Schema>) {
    let content = response.content.entry(content_type.to_owned());
    if let RefOr::T(content) = content.or_insert_with(|| Content::default().into()) {
        content.schema = Some(match content.schema.take() {
            Some(other) => AnyOfBuilder::new().item(other).item(schema).into(),
            None => schema,
        });
    }
}

fn add_line(response: &mut Response, line: &str) {
    let description = &mut response.description;
    if !description.is_empty() {
        description.push('\n');
    }
    description.push_str(line);
}

fn add_retry_after(response: &mut Response) {
    let seconds = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1));
    let name = http::header::RETRY_AFTER;
    let meaning = "Seconds until the same request may be sent again";
    add_header(response, &name, meaning, seconds);
}

fn problem_schema() -> RefOr<Schema> {
    let reference = || string().format(Some(SchemaFormat::Custom("uri-reference".to_owned())));
    let flag = |description| {
        let flag = ObjectBuilder::new().schema_type(Type::Boolean);
        flag.description(Some(description))
    };
    let properties: [(&str, ObjectBuilder); 6] = [
        ("type", reference()),
        ("title", string()),
        ("status", ObjectBuilder::new().schema_type(Type::Integer)),
        ("detail", string()),
        (
            "retryable",
            flag("Whether the same request with the same key may get another answer"),
        ),
        (
            "safe_new_key",
            flag("Whether a new key can't double an effect of this one"),
        ),
    ];
    let object = ObjectBuilder::new().description(Some(
        "A problem document (RFC 9457) about the request's idempotency key",
    ));
    let object = properties
        .into_iter()
        .fold(object, |object, (name, schema)| {
            object.property(name, schema).required(name)
        });
    object.into()
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}
