//! W3C trace context in and out, so that one directive is one trace over controller and nodes.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Why a parent could not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceParentError {
    /// The text is not a W3C `traceparent`.
    #[error("not a traceparent: expected `00-<32 hex>-<16 hex>-<2 hex>`, neither id all zero")]
    Malformed,
    /// The span is filtered out, was entered already, or no observability was set up.
    #[error("the span is not recorded, or has begun already")]
    NotRecorded,
}

/// The `traceparent` of the current span; `None` where no span is recorded.
pub fn current_traceparent() -> Option<String> {
    traceparent_of(&Span::current())
}

/// The `traceparent` of a span; `None` where it is not recorded.
pub fn traceparent_of(span: &Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let ids = span.span_context();
    ids.is_valid().then(|| {
        format!("00-{}-{}-{:02x}", ids.trace_id(), ids.span_id(), ids.trace_flags().to_u8())
    })
}

/// Makes a span, not yet entered, the child of a remote one.
pub fn set_parent(span: &Span, traceparent: &str) -> Result<(), TraceParentError> {
    let ids = parse(traceparent).ok_or(TraceParentError::Malformed)?;
    let parent = Context::new().with_remote_span_context(ids);
    span.set_parent(parent).map_err(|_| TraceParentError::NotRecorded)
}

fn parse(text: &str) -> Option<SpanContext> {
    let parts: Vec<&str> = text.split('-').collect();
    let (version, trace, span, flags) = match parts.as_slice() {
        // Later versions may append fields; version 00 may not.
        [version, trace, span, flags, rest @ ..] if rest.is_empty() || *version != "00" => {
            (*version, *trace, *span, *flags)
        }
        _ => return None,
    };
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    if !hex(version, 2) || version == "ff" || !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observability::{ObservabilityConfig, layered};
    use proptest::prelude::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_child_carries_the_trace_id_of_its_remote_parent_without_any_collector() {
        let (subscriber, _guard) =
            layered(&ObservabilityConfig::new("test"), std::io::sink).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("directive");
            set_parent(&span, PARENT).unwrap();
            let child = span.in_scope(current_traceparent).unwrap();
            let trace_id = |text| parse(text).map(|ids| ids.trace_id());
            assert_eq!(trace_id(&child), trace_id(PARENT));
            assert_ne!(child, PARENT, "the span has its own id");
            assert_eq!(set_parent(&span, PARENT), Err(TraceParentError::NotRecorded));
            assert_eq!(current_traceparent(), None, "outside of any span");
        });
    }

    #[test]
    fn without_set_up_nothing_is_recorded_and_nothing_fails() {
        tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), || {
            let span = tracing::info_span!("directive");
            assert_eq!(set_parent(&span, PARENT), Err(TraceParentError::NotRecorded));
            assert_eq!(span.in_scope(current_traceparent), None);
        });
    }

    #[test]
    fn malformed_parents_are_refused() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
        assert!(parse(PARENT).is_some());
        assert!(parse(&format!("01{}-more", &PARENT[2..])).is_some());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,80}") {
            let _ = parse(&text);
        }
    }
}
