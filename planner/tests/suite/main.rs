//! Plans as a whole: golden ones found by folder, and properties of any.

mod golden;
mod properties;
mod refusals;
mod simulate;
mod text;
mod world;
