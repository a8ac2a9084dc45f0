//! Runs commands in microVM sandboxes, works with their files, and follows their logs.
//!
//! It speaks to running sandboxes over their socket, and runs the program `msb` for the rest: `msb` is found by
//! [`ClientBuilder::msb`], in the variable `MSB`, or on `PATH`. All calls need a tokio runtime.
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod agent;
pub mod cbor;
mod client;
mod convert;
mod create;
mod error;
mod exec;
mod failure;
mod file_streams;
mod file_types;
mod files;
mod guest;
mod lines;
mod link;
mod logs;
mod metrics;
mod mount;
mod msb;
mod network;
mod pool;
mod port;
mod process;
mod project;
mod sandbox;
mod secret;
mod session;
mod storage;
mod streams;

pub use agent::AgentClient;
pub use client::{Client, ClientBuilder, List, SandboxPage};
pub use create::{Pull, Restart, SandboxBuilder};
pub use error::{Error, ExecFailure, ExecTimeout, FileFailure, Report, Result};
pub use exec::{Exec, Rlimit};
pub use file_streams::{FileReader, FileWriter};
pub use file_types::{Copied, DirEntry, FileKind, FileStat, WriteOptions};
pub use files::Files;
pub use logs::{LogEntry, LogQuery, LogSource, LogStream};
pub use metrics::{MetricsStream, SandboxMetrics};
pub use mount::{HostPermissions, Mount, StatVirtualization};
pub use network::Network;
pub use port::{Port, Protocol};
pub use process::{ExecEvent, ExecOutput, ExitStatus, Process};
pub use project::{Change, DownOptions, Plan, Project, ProjectEvent, ProjectRun, UpOptions};
pub use sandbox::{Sandbox, SandboxDetails};
pub use secret::{OnViolation, Secret};
pub use storage::{Image, Images, Snapshot, Snapshots, Volume, VolumeKind, VolumeOptions, Volumes};
pub use streams::{ProcessInput, ProcessOutput};
