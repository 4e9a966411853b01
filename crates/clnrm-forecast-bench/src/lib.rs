//! A benchmark of forecasts that outsiders can repeat: traces and planned origins in, forecasts out, and their scores.
//!
//! Deliberately absent: any knowledge of a trace beyond the samples before an origin.

pub mod forecast;
pub mod method;
pub mod plan;
pub mod row;
pub mod score;
pub mod table;
pub mod traces;
