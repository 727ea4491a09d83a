//! Will this disk or machine fail within a day, a week, a month?
//!
//! [`EventHistory`] and [`ReadingHistory`] make features of what happened before a moment and nothing after it.
//! [`HazardModel`] holds, for each horizon, boosted trees ([`crate::boost`]) and an isotonic calibration; its threshold
//! comes from what a missed failure and a false alarm cost, and [`AlertGate`] keeps an alert from flickering.

mod alert;
mod events;
mod isotonic;
mod model;
mod peers;
mod rates;
mod readings;
mod recalibration;

pub use alert::{Alert, AlertGate};
pub use events::EventHistory;
pub use isotonic::Isotonic;
pub use model::{HazardModel, Horizon, threshold_of_costs};
pub use peers::PeerReadings;
pub use rates::{GroupCount, GroupRates};
pub use readings::{Gauge, ReadingHistory};
pub use recalibration::Recalibration;
