//! Unusual states of a machine with many signals, as they come, and which signals are to blame.
//!
//! A [`Detector`] is fitted to a machine's own past and then reads one row of signals per step. It looks at the machine
//! in several *views*: the values as they are, and their distance from what they have been over the last minutes or
//! hours (an exponential mean with a half-life). In each view the signals are standardised and split by principal
//! components into what the machine usually does and the rest: Hotelling's T² measures how far it is along the usual
//! directions, Q (the squared prediction error; Jackson and Mudholkar, 1979) how far it is off them. The logarithms are
//! added up, so that no single signal drowns the others, and smoothed over the last steps only.
//!
//! The view of the values as they are goes blind when a machine changes for good. A drift gate re-centres the signals
//! that have stayed away from their place for a whole window ([`DriftGate`]).

mod calibration;
mod detector;
mod drift;
mod settings;
mod subspace;
mod view;

pub use detector::{Detector, Reading};
pub use settings::{DriftGate, MultivariateError, Settings};
