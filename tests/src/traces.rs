//! Spans and events of one test.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::dispatcher::get_default;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// The fields of a span or an event by name.
pub type Fields = BTreeMap<&'static str, String>;

/// The traces since [`capture`](Self::capture).
///
/// A test that uses it is declared by `conformance![traced: …]`. It runs on one thread; a framework
/// with its own threads gives them the same subscriber.
#[derive(Debug, Clone, Default)]
pub struct Traces(Arc<Mutex<Captured>>);

#[derive(Debug, Default)]
struct Captured {
    spans: Vec<(u64, Fields)>,
    parents: Vec<Option<&'static str>>,
    events: Vec<Traced>,
}

/// One event.
#[derive(Debug, Clone)]
pub struct Traced {
    /// Its level.
    pub level: Level,
    /// Its own fields, with the message.
    pub fields: Fields,
    /// The fields of the library's span around it, at the time of the event.
    pub span: Option<Fields>,
}

impl Traces {
    /// Captures on this thread until the guard is dropped.
    #[must_use]
    pub fn install() -> DefaultGuard {
        let subscriber = tracing_subscriber::registry().with(Self::default());
        tracing::subscriber::set_default(subscriber)
    }

    /// Captures from now on.
    pub fn capture() -> Self {
        let traces = get_default(|dispatch| dispatch.downcast_ref::<Self>().cloned());
        let traces = traces.expect("the test is a traced one");
        *traces.captured() = Captured::default();
        traces
    }

    /// The library's spans, in the order of their beginnings.
    pub fn spans(&self) -> Vec<Fields> {
        let captured = self.captured();
        captured
            .spans
            .iter()
            .map(|(_, span)| span.clone())
            .collect()
    }

    /// The name of the span around each of the library's spans, in the same order.
    pub fn parents(&self) -> Vec<Option<&'static str>> {
        self.captured().parents.clone()
    }

    /// The events of idem's own crates.
    pub fn events(&self) -> Vec<Traced> {
        self.captured().events.clone()
    }

    fn captured(&self) -> MutexGuard<'_, Captured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The library's span, by rule V1.
const SPAN: &str = "idempotent";

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Traces {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() == SPAN {
            let mut fields = Collector::default();
            attributes.record(&mut fields);
            let span = context.span(id);
            let parent = span.and_then(|span| span.parent().map(|parent| parent.name()));
            let mut captured = self.captured();
            captured.spans.push((id.into_u64(), fields.0));
            captured.parents.push(parent);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut fields = Collector::default();
        values.record(&mut fields);
        let mut captured = self.captured();
        // The newest span: ids are reused.
        let span = captured
            .spans
            .iter_mut()
            .rfind(|(span, _)| *span == id.into_u64());
        if let Some((_, span)) = span {
            span.extend(fields.0);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !event.metadata().target().starts_with("idem_") {
            return;
        }
        let mut fields = Collector::default();
        event.record(&mut fields);
        let around = context.event_scope(event).and_then(|mut scope| {
            let span = scope.find(|span| span.name() == SPAN)?;
            Some(span.id().into_u64())
        });
        let mut captured = self.captured();
        let span = around.and_then(|id| {
            let span = captured.spans.iter().rfind(|(span, _)| *span == id)?;
            Some(span.1.clone())
        });
        captured.events.push(Traced {
            level: *event.metadata().level(),
            fields: fields.0,
            span,
        });
    }
}

#[derive(Default)]
struct Collector(Fields);

impl Visit for Collector {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
