//! Commands for sandboxes by name or from flags.

pub mod attach;
pub mod cp;
pub mod create;
pub mod events;
pub mod exec;
pub mod inspect;
pub mod jobs;
pub mod logs;
pub mod metrics;
pub mod net;
mod page;
pub mod pause;
pub mod ps;
pub mod rm;
pub mod run;
pub mod start;
pub mod stop;
pub mod top;
pub mod wait;
