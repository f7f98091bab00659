//! What the fuzz targets share: keys that are the same in every run, and a judge who shares no code with the core.
#![forbid(unsafe_code)]

pub mod issued;
pub mod judge;
pub mod pair;
pub mod path;
pub mod quick;
