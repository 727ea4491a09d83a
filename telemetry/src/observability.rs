//! Logs and traces of every binary: text or JSON lines on stderr, and spans to an OTLP collector where one is named.
//!
//! A collector that is slow or dead costs a bounded queue and nothing else: spans go through a queue that drops
//! when full, to a thread of their own with a runtime of its own.

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use std::{io::IsTerminal, thread::JoinHandle, time::Duration};
use tokio::sync::oneshot;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{MakeWriter, layer as fmt_layer},
    layer::SubscriberExt,
};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document per line.
    Json,
}

/// Set-up of logs and traces.
#[derive(Clone, Debug)]
pub struct ObservabilityConfig {
    /// `service.name` of the traces, for instance `isobar-node`.
    pub service_name: String,
    /// `service.instance.id`, for instance `n3`.
    pub instance_id: String,
    /// Which log lines appear, in the syntax of `RUST_LOG`.
    pub log_filter: String,
    /// How they look.
    pub log_format: LogFormat,
    /// Which spans become traces; apart from the log filter, so that a quiet log still has whole traces.
    pub trace_filter: String,
    /// OTLP/gRPC collector, for instance `http://127.0.0.1:4317`; none: spans carry ids but go nowhere.
    pub otlp_endpoint: Option<String>,
    /// Share of the traces begun here that are recorded, 0 to 1.
    pub trace_sample_ratio: f64,
    /// Spans that wait for the collector at most; more are dropped.
    pub queue_spans_max: usize,
    /// Longest wait for the collector, per batch and at the end of the process.
    pub export_timeout: Duration,
}

impl ObservabilityConfig {
    /// Defaults: `info`, text, every trace, no collector.
    pub fn new(service_name: impl Into<String>) -> Self {
        Self {
            service_name: service_name.into(),
            instance_id: String::new(),
            // openraft warns of every unanswered heartbeat; what matters of it reaches our own log lines.
            log_filter: "info,openraft=error".into(),
            log_format: LogFormat::Text,
            trace_filter: "info".into(),
            otlp_endpoint: None,
            trace_sample_ratio: 1.0,
            queue_spans_max: 2_048,
            export_timeout: Duration::from_secs(3),
        }
    }
}

/// Why logs and traces could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ObservabilityError {
    /// A filter cannot be read.
    #[error("`{filter}` is not a log filter")]
    BadFilter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter refuses the address of the collector.
    #[error("cannot export traces to `{endpoint}`")]
    BadEndpoint {
        /// The address.
        endpoint: String,
        /// Why.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// The thread of the exporter could not be started.
    #[error("cannot start the trace exporter")]
    Thread(#[source] std::io::Error),
    /// Logs were set up before in this process.
    #[error("logs are set up already")]
    Twice(#[source] tracing::subscriber::SetGlobalDefaultError),
}

impl From<ObservabilityError> for isobar_api::ApiError {
    fn from(error: ObservabilityError) -> Self {
        let code = match error {
            ObservabilityError::BadFilter { .. } => isobar_api::ErrorCode::BadConfig,
            ObservabilityError::BadEndpoint { .. } => isobar_api::ErrorCode::BadAddress,
            _ => isobar_api::ErrorCode::Internal,
        };
        let source =
            std::error::Error::source(&error).map(|s| format!(": {s}")).unwrap_or_default();
        Self::new(code, format!("{error}{source}"))
    }
}

/// Sends what is still queued when dropped; keep it until the end of `main`.
#[must_use = "dropping the guard ends the export of traces"]
#[derive(Debug)]
pub struct Guard {
    provider: SdkTracerProvider,
    export_timeout: Duration,
    exporter: Option<ExporterThread>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A dead collector must not keep the process: what cannot be sent in time is lost.
        let _ = self.provider.shutdown_with_timeout(self.export_timeout);
        drop(self.exporter.take());
    }
}

/// Sets up logs and traces for the whole process.
pub fn init(config: &ObservabilityConfig) -> Result<Guard, ObservabilityError> {
    let (subscriber, guard) = layered(config, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(ObservabilityError::Twice)?;
    Ok(guard)
}

/// The same without making it global, and with log lines going to `writer`: for tests and embedding.
pub fn layered<W>(
    config: &ObservabilityConfig,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Guard), ObservabilityError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (provider, exporter) = tracer_provider(config)?;
    let guard = Guard { provider, export_timeout: config.export_timeout, exporter };
    let traces = tracing_opentelemetry::layer()
        .with_tracer(guard.provider.tracer("isobar"))
        .with_filter(trace_filter(&config.trace_filter)?);
    let logs: Box<dyn Layer<_> + Send + Sync> = match config.log_format {
        LogFormat::Text => fmt_layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(writer)
            .with_filter(filter(&config.log_filter)?)
            .boxed(),
        LogFormat::Json => fmt_layer()
            .json()
            .flatten_event(true)
            .with_writer(writer)
            .with_filter(filter(&config.log_filter)?)
            .boxed(),
    };
    Ok((Registry::default().with(traces).with(logs), guard))
}

fn filter(text: &str) -> Result<EnvFilter, ObservabilityError> {
    EnvFilter::try_new(text)
        .map_err(|source| ObservabilityError::BadFilter { filter: text.into(), source })
}

/// The exporter's own gRPC calls must not become spans: they would be exported, and so on for ever.
fn trace_filter(text: &str) -> Result<EnvFilter, ObservabilityError> {
    let mut all = filter(text)?;
    for own in
        ["h2=off", "hyper=off", "hyper_util=off", "tonic=off", "tower=off", "opentelemetry=off"]
    {
        all = all.add_directive(own.parse().expect("a directive written here is well-formed"));
    }
    Ok(all)
}

fn tracer_provider(
    config: &ObservabilityConfig,
) -> Result<(SdkTracerProvider, Option<ExporterThread>), ObservabilityError> {
    let resource = Resource::builder_empty()
        .with_service_name(config.service_name.clone())
        .with_attribute(KeyValue::new("service.instance.id", config.instance_id.clone()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let ratio = config.trace_sample_ratio.clamp(0.0, 1.0);
    let builder = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))));
    let Some(endpoint) = &config.otlp_endpoint else {
        return Ok((builder.build(), None));
    };
    let thread = ExporterThread::start().map_err(ObservabilityError::Thread)?;
    let exporter = {
        // The channel's background task lives on the runtime that is entered here.
        let _entered = thread.runtime.enter();
        SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(config.export_timeout)
            .build()
            .map_err(|source| ObservabilityError::BadEndpoint {
                endpoint: endpoint.clone(),
                source,
            })?
    };
    let queue = config.queue_spans_max.clamp(16, 65_536);
    let batch = BatchConfigBuilder::default()
        .with_max_queue_size(queue)
        .with_max_export_batch_size(queue.min(512))
        .with_scheduled_delay(Duration::from_secs(1))
        .build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batch).build();
    Ok((builder.with_span_processor(processor).build(), Some(thread)))
}

/// A thread with a small runtime for the exporter's connection, so that it neither needs nor slows the caller's.
#[derive(Debug)]
struct ExporterThread {
    runtime: tokio::runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ExporterThread {
    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("otlp-export".into()).spawn(move || {
            // Ends on the message or when its sender is dropped; both mean stop.
            let _ = runtime.block_on(stopped);
            // Not by dropping it: that would wait for a look-up of the collector's name to end.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for ExporterThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isobar_api::{ApiError, ErrorCode};
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_lines_carry_the_fields_of_the_directive_they_belong_to() {
        let lines = Lines::default();
        let writer = lines.clone();
        let config = ObservabilityConfig {
            log_format: LogFormat::Json,
            ..ObservabilityConfig::new("isobar-test")
        };
        let (subscriber, _guard) = layered(&config, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("directive", directive = "d7");
            span.in_scope(|| tracing::info!(step = 2, "accepted"));
            tracing::debug!("not shown at info");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).expect("one JSON line");
        assert_eq!(line["message"], "accepted");
        assert_eq!(line["step"], 2);
        assert_eq!(line["span"]["directive"], "d7");
    }

    #[test]
    fn the_exporter_ends_although_the_collectors_name_is_still_looked_up() {
        let exporter = ExporterThread::start().unwrap();
        let (begun, wait) = std::sync::mpsc::channel();
        exporter.runtime.spawn_blocking(move || {
            begun.send(()).unwrap();
            std::thread::sleep(Duration::from_secs(20));
        });
        wait.recv().unwrap();
        let asked = std::time::Instant::now();
        drop(exporter);
        assert!(asked.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn bad_set_up_is_refused_with_a_code() {
        let config = ObservabilityConfig {
            log_filter: "isobar=loud".into(),
            ..ObservabilityConfig::new("t")
        };
        let error = layered(&config, io::sink).map(|_| ()).unwrap_err();
        assert_eq!(ApiError::from(error).code, ErrorCode::BadConfig);
        let config = ObservabilityConfig {
            otlp_endpoint: Some("not an address".into()),
            ..ObservabilityConfig::new("t")
        };
        let error = layered(&config, io::sink).map(|_| ()).unwrap_err();
        assert_eq!(ApiError::from(error).code, ErrorCode::BadAddress);
    }
}
