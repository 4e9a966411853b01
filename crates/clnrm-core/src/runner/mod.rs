//! From test file to plan, from plan to steps, from steps to events.

pub mod event;
