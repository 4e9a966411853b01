//! The report of `services ai-manage`: typed records in, a document and its words out.

pub(crate) mod advice;
mod alert;
pub mod document;
pub mod forecast;
pub(crate) mod metric;
mod reason;
mod view;
