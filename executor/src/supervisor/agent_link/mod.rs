//! The link to the guest's agent, its clients on the relay, and the supervisor's own sessions on it.

pub mod detached;
pub mod exec_logger;
pub mod health;
pub mod jobs;
pub mod link;
pub mod redaction;
pub mod relay;
