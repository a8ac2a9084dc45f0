//! Loop devices: files that are disks.
#![allow(unsafe_code)] // rustix has no calls for loop devices.

use std::fs::{File, OpenOptions};
use std::io::Error;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use crate::root::{RootError, step};

const CONTROL: &str = "/dev/loop-control";

/// `LOOP_CTL_GET_FREE`.
const GET_FREE: u32 = 0x4c82;
/// `LOOP_CONFIGURE`.
const CONFIGURE: u32 = 0x4c0a;

/// `LO_FLAGS_READ_ONLY`.
const READ_ONLY: u32 = 1;
/// `LO_FLAGS_AUTOCLEAR`: the device is free again after its last use.
const AUTOCLEAR: u32 = 4;
/// `LO_FLAGS_DIRECT_IO`: data are not cached twice. The kernel ignores it where a file system cannot do that.
const DIRECT_IO: u32 = 16;

/// `struct loop_config`, see loop(4).
#[repr(C)]
struct Config {
    descriptor: u32,
    /// 0 for the default, 512 bytes.
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// A device with a file behind it. The kernel detaches the file after the last use of the device, of which this is one.
pub struct LoopDevice {
    path: PathBuf,
    _device: File,
}

impl LoopDevice {
    /// Attaches a file to a free device. No process of the sandbox may run yet, which could take it.
    pub fn attach(file: &OwnedFd, read_only: bool) -> Result<Self, RootError> {
        let control =
            step(OpenOptions::new().read(true).write(true).open(CONTROL), "open /dev/loop-control")?;
        // SAFETY: this request has no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE as _) };
        if number < 0 {
            return step(Err(Error::last_os_error()), "find a free loop device");
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let opened = OpenOptions::new().read(true).write(!read_only).open(&path);
        let device = step(opened, format!("open {}", path.display()))?;
        let config = Config::new(file.as_raw_fd(), read_only);
        // SAFETY: the kernel reads a `struct loop_config` at this address.
        let configured = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE as _, &raw const config) };
        if configured < 0 {
            return step(Err(Error::last_os_error()), format!("set {} up", path.display()));
        }
        Ok(Self { path, _device: device })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Config {
    fn new(descriptor: RawFd, read_only: bool) -> Self {
        let flags = AUTOCLEAR | DIRECT_IO | if read_only { READ_ONLY } else { 0 };
        Self {
            descriptor: descriptor.cast_unsigned(),
            block_size: 0,
            info: Info {
                device: 0,
                inode: 0,
                rdevice: 0,
                offset: 0,
                size_limit: 0,
                number: 0,
                encrypt_type: 0,
                encrypt_key_size: 0,
                flags,
                file_name: [0; 64],
                crypt_name: [0; 64],
                encrypt_key: [0; 32],
                init: [0; 2],
            },
            reserved: [0; 8],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(size_of::<Info>(), 232);
        assert_eq!(size_of::<Config>(), 304);
        assert_eq!(std::mem::offset_of!(Config, info.flags), 8 + 52);
        assert_eq!(Config::new(5, true).info.flags, 21);
    }
}
