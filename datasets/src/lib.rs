//! Real input for Isobar: access traces, round-trip tables, request rates, populations and YCSB workloads.
//!
//! Readers take plain or zstandard files, recognise the format from the content, stream where files are large, and
//! answer bad input with an [`Error`] that names file and line. A few small facts are embedded, so that a fresh clone
//! runs without any download: [`recorded_trace`], [`builtin_rtt`], [`builtin_audience`].
//!
//! [`geo`] is the reader model of the demo: which region reads a key now. [`Catalog`] and [`fetch`] get public sets by
//! pinned address and SHA-256.

mod arrivals;
mod audience;
mod catalog;
mod civil;
mod columns;
mod csv;
mod error;
mod failures;
mod feature_rows;
mod fetch;
#[cfg(test)]
mod fuzz_tests;
pub mod geo;
mod labelled_series;
mod machines;
mod places;
mod population;
mod rates;
mod rtt;
mod series;
mod source;
mod trace;
pub mod ycsb;
mod zipf;

pub use arrivals::Arrivals;
pub use audience::{Audience, audience_from, builtin_audience};
pub use catalog::{Catalog, Entry, RemoteFile};
pub use civil::day_of;
pub use columns::{Columns, Sampled, SetFile, files_of, sample_columns};
pub use error::{Error, Result};
pub use failures::{
    DriveDay, DriveSpan, FailureSet, GpuLife, MachineEvents, MachineRow, Outage, UpDown,
    read_failures,
};
pub use feature_rows::{FeatureBlock, FeatureRows};
pub use fetch::{FetchOptions, Progress, fetch, fetch_file};
pub use labelled_series::{LabelledSeries, Marks, read_labelled_series};
pub use machines::{Cause, Machine, machine_names, read_machine};
pub use places::{Place, place_of};
pub use population::{City, Country, read_cities, read_countries};
pub use rates::{RequestRates, read_rates};
pub use rtt::{builtin_rtt, read_rtt};
pub use series::{SeriesFile, SeriesRow, read_series};
pub use trace::{
    Access, KeyRequest, Op, Requests, Trace, TraceReader, lru_hit_ratio, read_requests, read_trace,
    recorded_trace,
};
