//! The decisions about services, under the path that the request gives them. They are the crate `clnrm-decide`.

pub use clnrm_decide as service_manager;
