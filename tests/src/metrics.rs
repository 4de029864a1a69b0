//! The metrics of one test.

use std::cell::Cell;

use metrics::{LocalRecorderGuard, set_default_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

thread_local! {
    static RECORDER: Cell<Option<&'static PrometheusRecorder>> = const { Cell::new(None) };
}

/// The metrics of the test on this thread, which is declared by `conformance![traced: …]`.
#[derive(Debug)]
pub struct Metrics(());

impl Metrics {
    /// Records on this thread until the guard is dropped.
    #[must_use]
    pub fn install() -> LocalRecorderGuard<'static> {
        let builder = PrometheusBuilder::new().with_recommended_naming(true);
        // Guards of other threads can outlive the test.
        Self::adopt(Box::leak(Box::new(builder.build_recorder())))
    }

    /// The recorder of this thread, for another one.
    pub fn recorder() -> Option<&'static PrometheusRecorder> {
        RECORDER.get()
    }

    /// Records on this thread, too.
    #[must_use]
    pub fn adopt(recorder: &'static PrometheusRecorder) -> LocalRecorderGuard<'static> {
        RECORDER.set(Some(recorder));
        set_default_local_recorder(recorder)
    }

    /// The lines of a metric as Prometheus gets them, in order.
    pub fn lines(metric: &str) -> Vec<String> {
        let recorder = Self::recorder().expect("the test is a traced one");
        let text = recorder.handle().render();
        let is_of = |line: &&str| line.split(['{', ' ']).next() == Some(metric);
        let mut lines: Vec<_> = text.lines().filter(is_of).map(str::to_owned).collect();
        lines.sort();
        lines
    }
}
