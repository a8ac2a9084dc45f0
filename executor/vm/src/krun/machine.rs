//! libkrun's C API, each call checked.
#![allow(unsafe_code, reason = "libkrun's interface is C")]

use crate::spec::{DiskFormat, MacAddress};
use crate::vmm::VmmError;
use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;

/// `KRUN_LOG_LEVEL_ERROR`: `warn` logs harmless messages at every start.
const LOG_LEVEL: u32 = 1;
/// `KRUN_KERNEL_FORMAT_ELF`.
const KERNEL_FORMAT_ELF: u32 = 1;
/// `KRUN_DISK_FORMAT_RAW`. Never a format that libkrun guesses: the guest writes the first bytes.
const DISK_FORMAT_RAW: u32 = 0;
/// `KRUN_DISK_FORMAT_QCOW2`.
const DISK_FORMAT_QCOW2: u32 = 1;

/// A VM under construction.
pub(super) struct Machine {
    context: u32,
}

impl Machine {
    pub(super) fn new() -> Result<Self, VmmError> {
        check("krun_set_log_level", krun::krun_set_log_level(LOG_LEVEL))?;
        let context = check("krun_create_ctx", krun::krun_create_ctx())?;
        Ok(Self { context })
    }

    pub(super) fn set_size(&self, vcpus: u8, memory_mib: u32) -> Result<(), VmmError> {
        check("krun_set_vm_config", krun::krun_set_vm_config(self.context, vcpus, memory_mib)).map(drop)
    }

    pub(super) fn set_kernel(&self, kernel: &str, initramfs: &str, cmdline: &str) -> Result<(), VmmError> {
        let call = "krun_set_kernel";
        let (kernel, initramfs) = (text(call, kernel)?, text(call, initramfs)?);
        let cmdline = text(call, cmdline)?;
        // SAFETY: three C strings that outlive the call, which copies them.
        let answer = unsafe {
            krun::krun_set_kernel(
                self.context,
                kernel.as_ptr(),
                KERNEL_FORMAT_ELF,
                initramfs.as_ptr(),
                cmdline.as_ptr(),
            )
        };
        check(call, answer).map(drop)
    }

    pub(super) fn disable_vsock(&self) -> Result<(), VmmError> {
        check("krun_disable_implicit_vsock", krun::krun_disable_implicit_vsock(self.context)).map(drop)
    }

    /// Sets the output of the implicit console, the guest's `hvc0`. It has no input.
    pub(super) fn set_console(&self, path: &str) -> Result<(), VmmError> {
        let call = "krun_set_console_output";
        let path = text(call, path)?;
        // SAFETY: a C string that outlives the call, which copies it.
        let answer = unsafe { krun::krun_set_console_output(self.context, path.as_ptr()) };
        check(call, answer).map(drop)
    }

    pub(super) fn add_disk(
        &self,
        id: &str,
        path: &str,
        read_only: bool,
        format: DiskFormat,
    ) -> Result<(), VmmError> {
        let call = "krun_add_disk2";
        let format = match format {
            DiskFormat::Raw => DISK_FORMAT_RAW,
            DiskFormat::Qcow2 => DISK_FORMAT_QCOW2,
        };
        let (id, path) = (text(call, id)?, text(call, path)?);
        // SAFETY: two C strings that outlive the call, which copies them.
        let answer =
            unsafe { krun::krun_add_disk2(self.context, id.as_ptr(), path.as_ptr(), format, read_only) };
        check(call, answer).map(drop)
    }

    /// Adds a console device with named ports only; returns its number.
    pub(super) fn add_multiport_console(&self) -> Result<u32, VmmError> {
        // SAFETY: takes no pointer.
        let answer = unsafe { krun::krun_add_virtio_console_multiport(self.context) };
        check("krun_add_virtio_console_multiport", answer)
    }

    pub(super) fn add_port(&self, console: u32, name: &str, socket: RawFd) -> Result<(), VmmError> {
        let call = "krun_add_console_port_inout";
        let name = text(call, name)?;
        // SAFETY: a C string that outlives the call, which copies it; the socket is open for as long as this
        // process lives, and libkrun duplicates it for each direction.
        let answer = unsafe {
            krun::krun_add_console_port_inout(self.context, console, name.as_ptr(), socket, socket)
        };
        check(call, answer).map(drop)
    }

    pub(super) fn add_network(&self, socket: RawFd, mac: MacAddress) -> Result<(), VmmError> {
        let MacAddress(bytes) = mac;
        // SAFETY: no path, six bytes that outlive the call, which copies them, and an open socket that
        // nothing else in this process uses.
        let answer = unsafe {
            krun::krun_add_net_unixstream(self.context, std::ptr::null(), socket, bytes.as_ptr(), 0, 0)
        };
        check("krun_add_net_unixstream", answer).map(drop)
    }

    pub(super) fn add_file_system(&self, tag: &str, folder: &str) -> Result<(), VmmError> {
        let call = "krun_add_virtiofs";
        let (tag, folder) = (text(call, tag)?, text(call, folder)?);
        // SAFETY: two C strings that outlive the call, which copies them.
        let answer = unsafe { krun::krun_add_virtiofs(self.context, tag.as_ptr(), folder.as_ptr()) };
        check(call, answer).map(drop)
    }

    /// Runs the guest; the process ends with it.
    pub(super) fn start(self) -> Result<Infallible, VmmError> {
        let answer = krun::krun_start_enter(self.context);
        Err(failure("krun_start_enter", answer))
    }
}

/// Converts a text without NUL for libkrun.
fn text(call: &'static str, value: &str) -> Result<CString, VmmError> {
    CString::new(value).map_err(|error| VmmError::Krun { call, source: error.into() })
}

/// Converts a result of libkrun: a number, or a negated error number.
fn check(call: &'static str, answer: i32) -> Result<u32, VmmError> {
    u32::try_from(answer).map_err(|_negative| failure(call, answer))
}

fn failure(call: &'static str, answer: i32) -> VmmError {
    VmmError::Krun { call, source: io::Error::from_raw_os_error(answer.saturating_neg()) }
}
