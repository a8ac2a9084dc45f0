//! End-to-end tests: `msb` as a user runs it, on real virtual machines.
//!
//! Which driver they run on is `msb`'s choice, or `MSB_DRIVER`'s. Each test has a project and a home of its own,
//! and nothing may be left of it in the end.

mod applying;
mod attacks;
mod bytes;
mod capture;
mod ci;
mod copies;
mod crash;
mod documents;
mod ephemeral;
mod errors;
mod events;
mod examples;
mod exec;
mod firewall;
mod flags;
mod flush;
mod folders;
mod following;
mod full_disk;
mod hooks;
mod images;
mod language;
mod layers;
mod lifecycle;
mod lock;
mod logs;
mod neighbors;
mod network;
mod not_started;
mod own_file;
mod plan;
mod plan_file;
mod pulls;
mod questions;
mod quickstart;
mod relay;
mod rules;
mod secrets;
mod single;
mod stopping;
mod terminal;
mod trust;
mod unresponsive;
mod volumes;
mod waiting;
mod watch;
mod webstack;
