//! Histories that are right and wrong, written by hand, made from an object, and against two other checkers.

mod generated;
mod object;
mod reference;
mod written;
