//! The files: as typed, then as checked.

pub mod checked;
