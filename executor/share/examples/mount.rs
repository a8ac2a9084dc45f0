//! Mounts a share on this host, through the kernel's FUSE as a guest does it, to try policies without a VM. As root:
//!
//! `cargo run --example mount -- SOURCE TARGET '{"stat_virt": "strict", …}'`
//!
//! It ends when the target is unmounted.

use executor_share::{Limits, Share, ShareFs, SharePolicy, fuse};
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, mount};
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [source, target, policy] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "SOURCE TARGET POLICY")?;
    let policy: SharePolicy = serde_json::from_str(&policy)?;
    let descriptor = open(&source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let share = Share { name: source, source: descriptor, policy };
    let fs = Arc::new(ShareFs::new(vec![share], Limits::default())?);
    let device = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
        device.as_raw_fd()
    );
    mount("msb-mounts", &target, "fuse", MountFlags::empty(), Some(CString::new(options)?.as_c_str()))?;
    fuse::serve(fs, device)?;
    Ok(())
}
