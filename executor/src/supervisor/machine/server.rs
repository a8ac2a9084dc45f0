//! The file server of a machine's mounts, without which a guest that touches them waits forever.

use super::{SHUTDOWN_MARGIN, wait_for_exit};
use executor_share::ShareProcess;
use std::future::pending;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// Waits until the file server has ended before its machine; returns the reason. Without a server it waits forever.
pub async fn failed(server: Option<&mut ShareProcess>) -> String {
    let Some(server) = server else { return pending().await };
    if let Err(error) = wait_for_exit(server.pidfd()).await {
        return format!("cannot watch the file server of the mounts: {error}");
    }
    if let Some(why) = failure(server) {
        return why;
    }
    // It ends in order when its machine has closed their link: the machine is about to end as well.
    tokio::time::sleep(SHUTDOWN_MARGIN).await;
    "the file server of the mounts has lost its link to the virtual machine".to_owned()
}

/// Returns how the file server failed; `None` if it runs or ended in order.
pub fn failure(server: &mut ShareProcess) -> Option<String> {
    match server.try_wait() {
        Ok(status) => status.filter(|status| !status.success()).map(describe),
        Err(error) => Some(format!("cannot watch the file server of the mounts: {error}")),
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => {
            format!("the file server of the mounts exited with code {code}, runtime.log says more")
        }
        (None, signal) => {
            format!("the file server of the mounts was ended by signal {}", signal.unwrap_or_default())
        }
    }
}
