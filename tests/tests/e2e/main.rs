//! End-to-end tests: `msb` as a user runs it, on real virtual machines.
//!
//! `msb` or `MSB_DRIVER` chooses the driver. Each test has a project with a home of its own and leaves nothing behind.
//! Tests that need no guest belong to `msb/tests/cli`.

mod applying;
mod attacks;
mod bytes;
mod capture;
mod ci;
mod copies;
mod crash;
mod declared_files;
mod devserver;
mod disks;
mod doctor;
mod documents;
mod ephemeral;
mod events;
mod examples;
mod exec;
mod firewall;
mod flags;
mod flush;
mod following;
mod full_disk;
mod hooks;
mod images;
mod interception;
mod layers;
mod lifecycle;
mod logs;
mod metrics;
mod mount_changes;
mod mount_exercise;
mod mount_matrix;
mod mounts;
mod network;
mod not_started;
mod own_file;
mod peers;
mod plan_file;
mod proxies;
mod pulls;
mod quickstart;
mod relay;
mod secrets;
mod single;
mod snapshots;
mod stopping;
mod terminal;
mod tmpfs;
mod tools;
mod unresponsive;
mod volumes;
mod waiting;
mod watch;
mod webstack;
