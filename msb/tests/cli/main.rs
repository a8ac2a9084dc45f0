//! `msb` as a user runs it, up to where a guest would boot: errors, plans, trust, locks, reports and texts.
//!
//! Every test has a project with a home of its own, and msb finds no guest kernel.

mod capture;
mod ci;
mod compose;
mod confirm;
mod declared_files;
mod documents;
mod errors;
mod examples;
mod files;
mod flags;
mod folders;
mod helpers;
mod lock;
mod plan;
mod rules;
mod scale_and_pull;
mod trust;
mod volumes;
