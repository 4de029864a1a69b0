//! The OpenAPI documents of the examples, against the running services.

use std::path::Path;
use std::process::Command;

use idem_tests::{Database, Service, Site};
use xtask::python;

use crate::examples::Tokens;
use crate::on_site;

on_site!(payments_actix Sqlite "payments-actix" [every_answer_is_in_the_document]);
on_site!(payments_auth Sqlite "payments-auth" [every_answer_is_in_the_document]);

/// The checks of schemathesis: an answer that the document doesn't have is a failure, and so is a success for a request
/// that the document excludes.
const CHECKS: &str = "Keys,content_type_conformance,missing_required_header,negative_data_rejection,not_a_server_error,\
                      response_headers_conformance,response_schema_conformance,status_code_conformance";

async fn every_answer_is_in_the_document<D: Database>(site: &Site<D>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/processes/openapi");
    let requirements = folder.join("requirements.txt");
    let programs = python::environment(&requirements, Path::new(env!("CARGO_TARGET_TMPDIR")));
    let programs = programs.expect("an environment of Python");
    let mut service = Service::start(site).await;
    let token = Tokens::of(site, &mut service).await.acme;
    // The other example takes any token for a tenant.
    let authenticates = site.program == "payments-auth";
    let checks = if authenticates { "ignored_auth," } else { "" };
    let run = Command::new(programs.join("schemathesis"))
        .arg("run")
        .arg(format!("http://{}/openapi.json", service.address))
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--exclude-path", "/token"]) // it would revoke the run's own
        .args(["--checks", &format!("{checks}{CHECKS}")])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", "25", "--generation-deterministic"])
        .args(["--workers", "1", "--no-color"])
        .env("SCHEMATHESIS_HOOKS", "keys")
        .env("PYTHONPATH", &folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("schemathesis can be run");
    let output = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{output}\n{errors}");
}
