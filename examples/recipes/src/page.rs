//! Problems of idem as pages, for both frameworks.

use idem_actix::Problem;

// recipe: page
/// Whether an `Accept` header has HTML as its first choice, as a browser's has.
pub fn wants_page(accept: Option<&str>) -> bool {
    let weight = |range: &str| match range.split_once("q=") {
        Some((_, weight)) => weight.trim().parse().unwrap_or(0.0),
        None => 1.0_f32,
    };
    let ranges = accept.unwrap_or_default().split(',').rev(); // of equal weights, the first one
    let best = ranges.max_by(|a, b| weight(a).total_cmp(&weight(b)));
    best.is_some_and(|range| range.trim().starts_with("text/html"))
}

/// The problem in the words of the application.
pub fn explain(problem: Problem) -> &'static str {
    match problem {
        Problem::KeyMissing | Problem::KeyMalformed(_) => "Open the form again: it is incomplete.",
        Problem::KeyReused => "This form was sent before, with another content. Open a new one.",
        problem if problem.retryable() => "This takes longer than usual. Reload this page.",
        _ => "This failed, and we have to look at it. Please don't send the form again.",
    }
}
// recipe: end
