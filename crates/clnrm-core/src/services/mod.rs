//! Decisions about services. Nothing below this module does I/O.

pub mod service_manager;
