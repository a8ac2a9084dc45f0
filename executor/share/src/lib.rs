//! The file system of a sandbox's mounts: a FUSE file system that serves directories and files of the host, each with a
//! policy of its own.
//!
//! Its root is a synthetic, read-only directory with an entry per share, called `0`, `1`, and so on.
//!
//! Architecture invariant: all requests are hostile. A file of the host is reached only from the descriptor of its
//! directory and a single name, links of the host are never followed, and only regular files and directories are opened.
#![warn(missing_docs)]

mod fs;
pub mod fuse;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod policy;
pub mod server;
pub mod vhost_user;

pub use fs::ShareFs;
pub use policy::{Limits, Owner, Share, ShareError, SharePolicy};
pub use server::{ServerError, ServerSpec, ShareProcess, Transport, launch, run_share_server};
