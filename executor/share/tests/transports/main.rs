//! Both transports with a file system behind them, without a VM.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod escape;
mod fuse;
mod guest;
mod hostile;
mod server;
mod vhost_user;
