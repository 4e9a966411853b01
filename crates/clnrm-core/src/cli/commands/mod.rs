//! One short function per command: convert arguments, call the library, hand a typed report to `report`.

pub mod completions;
pub mod demo;
pub mod guard;
pub mod init;
pub mod logs;
pub mod run;
pub mod services;
pub mod validate;
