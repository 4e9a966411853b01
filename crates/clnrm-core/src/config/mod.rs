//! TOML in, validated definitions out.

pub mod definition;
