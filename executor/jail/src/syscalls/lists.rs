//! The lists, with the use of each call.

use super::When::{Is, Masked, OwnPid};
use super::{Allowed, SyscallList, allow, allow_if};
use libc::{
    SYS_accept4, SYS_brk, SYS_capget, SYS_capset, SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep,
    SYS_clone, SYS_close, SYS_close_range, SYS_copy_file_range, SYS_dup, SYS_dup3, SYS_epoll_create1,
    SYS_epoll_ctl, SYS_epoll_pwait, SYS_eventfd2, SYS_execve, SYS_exit, SYS_exit_group, SYS_faccessat,
    SYS_faccessat2, SYS_fallocate, SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_fcntl,
    SYS_fdatasync, SYS_fgetxattr, SYS_flistxattr, SYS_flock, SYS_fremovexattr, SYS_fsetxattr, SYS_fstat,
    SYS_fstatfs, SYS_fsync, SYS_ftruncate, SYS_futex, SYS_get_robust_list, SYS_getcwd, SYS_getdents64,
    SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getpeername, SYS_getpgid, SYS_getpid, SYS_getppid,
    SYS_getrandom, SYS_getsockname, SYS_getsockopt, SYS_gettid, SYS_gettimeofday, SYS_getuid,
    SYS_inotify_add_watch, SYS_inotify_init1, SYS_inotify_rm_watch, SYS_ioctl, SYS_lgetxattr, SYS_linkat,
    SYS_llistxattr, SYS_lremovexattr, SYS_lseek, SYS_lsetxattr, SYS_madvise, SYS_membarrier,
    SYS_memfd_create, SYS_mkdirat, SYS_mknodat, SYS_mlock, SYS_mmap, SYS_mprotect, SYS_mremap, SYS_msync,
    SYS_munmap, SYS_name_to_handle_at, SYS_nanosleep, SYS_newfstatat, SYS_open_by_handle_at, SYS_openat,
    SYS_openat2, SYS_pipe2, SYS_ppoll, SYS_prctl, SYS_pread64, SYS_preadv, SYS_prlimit64, SYS_pwrite64,
    SYS_pwritev, SYS_read, SYS_readlinkat, SYS_readv, SYS_recvfrom, SYS_recvmsg, SYS_renameat2,
    SYS_restart_syscall, SYS_rseq, SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigprocmask, SYS_rt_sigreturn,
    SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_sched_getaffinity, SYS_sched_yield, SYS_seccomp, SYS_sendmsg,
    SYS_sendto, SYS_set_robust_list, SYS_set_tid_address, SYS_setfsgid, SYS_setfsuid, SYS_setgroups,
    SYS_setresgid, SYS_setresuid, SYS_setsockopt, SYS_shutdown, SYS_sigaltstack, SYS_signalfd4,
    SYS_socketpair, SYS_splice, SYS_statfs, SYS_statx, SYS_symlinkat, SYS_sync_file_range, SYS_sysinfo,
    SYS_tgkill, SYS_timer_create, SYS_timer_delete, SYS_timer_settime, SYS_timerfd_create,
    SYS_timerfd_gettime, SYS_timerfd_settime, SYS_umask, SYS_uname, SYS_unlinkat, SYS_unshare, SYS_utimensat,
    SYS_writev,
};

/// Returns the list of libkrun's process. With mounts it works on files, as the guest's users.
pub fn krun(mounts: bool) -> SyscallList {
    let files: &[&[Allowed]] = if mounts { &[FILES, GUEST_USERS] } else { &[] };
    SyscallList::of(&[&[BASE, LEGACY, DISKS, SOCKETS, KVM], files].concat())
}

/// Returns the list of QEMU's process. It includes the execution of QEMU, which then forbids any other itself.
pub fn qemu() -> SyscallList {
    SyscallList::of(&[BASE, LEGACY, DISKS, SOCKETS, KVM, QEMU])
}

/// Returns the list of a file server's process.
pub fn share() -> SyscallList {
    SyscallList::of(&[BASE, LEGACY, SOCKETS, DISKS, FILES, WATCHES])
}

/// The index of ioctl's request among its arguments.
const REQUEST: u8 = 1;

/// Allows all requests of a kind: those of a driver have a number of their own in the second byte.
const fn requests(kind: u64, why: &'static str) -> Allowed {
    allow_if(SYS_ioctl, Masked { argument: REQUEST, mask: 0xff00, bits: kind << 8 }, why)
}

/// Memory, threads, time and the C library.
const BASE: &[Allowed] = &[
    allow(SYS_read, "all input"),
    allow(SYS_readv, "all input"),
    allow(libc::SYS_write, "all output"),
    allow(SYS_writev, "all output"),
    allow(SYS_close, "the end of every file"),
    allow(SYS_close_range, "the end of inherited files"),
    allow(SYS_openat, "the files that Landlock allows"),
    allow(SYS_fstat, "kinds and sizes of files"),
    allow(SYS_newfstatat, "kinds and sizes of files"),
    allow(SYS_statx, "kinds and sizes of files"),
    allow(SYS_fstatfs, "the block size of a file's file system"),
    allow(SYS_statfs, "huge pages: where the memory of the guest is"),
    allow(SYS_faccessat, "configuration of the dynamic linker"),
    allow(SYS_faccessat2, "configuration of the dynamic linker"),
    allow(SYS_readlinkat, "the path of a descriptor"),
    allow(SYS_getcwd, "absolute paths"),
    allow(SYS_lseek, "files"),
    allow(SYS_fcntl, "flags of descriptors"),
    allow(SYS_dup, "another descriptor for a device"),
    allow(SYS_dup3, "another descriptor for a device"),
    allow(SYS_brk, "memory"),
    allow(SYS_mmap, "memory"),
    allow(SYS_munmap, "memory"),
    allow(SYS_mremap, "memory"),
    allow(SYS_mprotect, "guard pages; translated code"),
    allow(SYS_madvise, "memory that is given back"),
    allow(SYS_membarrier, "the reclamation of shared data"),
    allow(SYS_futex, "locks"),
    allow(SYS_set_robust_list, "locks of threads that end"),
    allow(SYS_get_robust_list, "locks of threads that end"),
    allow(SYS_rseq, "the number of the current processor"),
    // A process without this flag could outlive the sandbox. clone3 has its flags in memory, out of sight: it is not
    // allowed, and the C library falls back to this call.
    allow_if(
        SYS_clone,
        Masked { argument: 0, mask: libc::CLONE_THREAD as u64, bits: libc::CLONE_THREAD as u64 },
        "threads, but no processes",
    ),
    allow(SYS_set_tid_address, "the end of a thread"),
    allow(SYS_exit, "the end of a thread"),
    allow(SYS_exit_group, "the end of the process"),
    allow(SYS_gettid, "threads"),
    allow(SYS_getpid, "the process's own pid"),
    allow(SYS_getppid, "whether the launcher lives"),
    allow(SYS_getpgid, "the process's own group"),
    allow(SYS_getuid, "who it is"),
    allow(SYS_geteuid, "who it is"),
    allow(SYS_getgid, "who it is"),
    allow(SYS_getegid, "who it is"),
    allow(SYS_rt_sigaction, "handlers of signals"),
    allow(SYS_rt_sigprocmask, "signals of threads"),
    allow(SYS_rt_sigreturn, "the end of a handler"),
    allow(SYS_rt_sigpending, "signals between threads"),
    allow(SYS_rt_sigsuspend, "signals between threads"),
    allow(SYS_rt_sigtimedwait, "signals between threads"),
    allow(SYS_sigaltstack, "a handler for stack overflows"),
    allow(SYS_restart_syscall, "a wait that a stop interrupted"),
    allow_if(SYS_tgkill, OwnPid(0), "a vcpu's thread is interrupted; an abort"),
    allow(SYS_sched_yield, "spinning locks"),
    allow(SYS_sched_getaffinity, "the number of processors"),
    allow(SYS_clock_gettime, "time"),
    allow(SYS_clock_getres, "time"),
    allow(SYS_gettimeofday, "time"),
    allow(SYS_nanosleep, "waits"),
    allow(SYS_clock_nanosleep, "waits"),
    allow(SYS_timerfd_create, "timers"),
    allow(SYS_timerfd_settime, "timers"),
    allow(SYS_timerfd_gettime, "timers"),
    allow(SYS_ppoll, "waits for files"),
    allow(SYS_epoll_create1, "waits for files"),
    allow(SYS_epoll_ctl, "waits for files"),
    allow(SYS_epoll_pwait, "waits for files"),
    allow(SYS_eventfd2, "notifications between threads"),
    allow(SYS_pipe2, "notifications between threads"),
    allow(SYS_getrandom, "random numbers"),
    allow(SYS_uname, "the version of the kernel"),
    allow(SYS_sysinfo, "the size of the memory"),
    // Limits are read and set by one call. The hard ones cannot be raised, and no other process has this user.
    allow_if(SYS_prlimit64, Is(0, 0), "its own limits"),
    allow_if(SYS_prctl, Is(0, libc::PR_SET_NAME as u64), "names of threads"),
    allow_if(SYS_prctl, Is(0, libc::PR_SET_VMA as u64), "names of memory"),
    allow_if(SYS_prctl, Is(0, libc::PR_SET_TIMERSLACK as u64), "precise timers"),
    allow_if(SYS_prctl, Is(0, libc::PR_SET_PDEATHSIG as u64), "its end with its launcher"),
    allow_if(SYS_ioctl, Is(REQUEST, libc::FIONBIO), "sockets that do not block"),
    allow_if(SYS_ioctl, Is(REQUEST, libc::TCGETS), "whether a file is a terminal"),
];

/// Older spellings of calls above, which some processors do not have.
#[cfg(target_arch = "x86_64")]
const LEGACY: &[Allowed] = &[
    allow(libc::SYS_arch_prctl, "storage of threads"),
    allow(libc::SYS_open, "as openat"),
    allow(libc::SYS_stat, "as newfstatat"),
    allow(libc::SYS_lstat, "as newfstatat"),
    allow(libc::SYS_access, "as faccessat"),
    allow(libc::SYS_readlink, "as readlinkat"),
    allow(libc::SYS_dup2, "as dup3"),
    allow(libc::SYS_pipe, "as pipe2"),
    allow(libc::SYS_poll, "as ppoll"),
    allow(libc::SYS_epoll_wait, "as epoll_pwait"),
    allow(libc::SYS_time, "as clock_gettime"),
];
/// This processor has none.
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[Allowed] = &[];

/// Disk images and block devices of the host.
const DISKS: &[Allowed] = &[
    allow(SYS_pread64, "disks"),
    allow(SYS_pwrite64, "disks"),
    allow(SYS_preadv, "disks"),
    allow(SYS_pwritev, "disks"),
    allow(libc::SYS_preadv2, "disks"),
    allow(libc::SYS_pwritev2, "disks"),
    allow(SYS_fsync, "acknowledged writes"),
    allow(SYS_fdatasync, "acknowledged writes"),
    allow(SYS_sync_file_range, "acknowledged writes"),
    allow(SYS_fallocate, "discarded blocks"),
    allow(SYS_ftruncate, "the size of memory and of qcow2 images"),
    requests(0x12, "sizes and discards of block devices"),
];

/// Links to the supervisor, the network and the file server. There is no call that makes a socket with an address.
const SOCKETS: &[Allowed] = &[
    allow(SYS_recvmsg, "links"),
    allow(SYS_recvfrom, "links"),
    allow(SYS_sendmsg, "links"),
    allow(SYS_sendto, "links"),
    allow(SYS_shutdown, "the end of a link"),
    allow(SYS_getsockopt, "links"),
    allow(SYS_setsockopt, "buffers of links"),
    allow(SYS_getsockname, "links"),
    allow(SYS_getpeername, "links"),
    allow(SYS_accept4, "QEMU asks whether a link is a server"),
    allow(SYS_socketpair, "links between threads"),
];

/// KVM, and memory of guests that is shared with a file server.
const KVM: &[Allowed] = &[
    requests(0xae, "virtual machines and vcpus"),
    allow(SYS_memfd_create, "memory of the guest"),
    allow(SYS_mlock, "memory of the guest"),
    allow(SYS_msync, "memory of the guest"),
];

/// QEMU beyond the above.
const QEMU: &[Allowed] = &[
    allow(SYS_execve, "QEMU itself, which then has `-sandbox spawn=deny`"),
    allow_if(SYS_prctl, Is(0, libc::PR_SET_NO_NEW_PRIVS as u64), "QEMU's `-sandbox`"),
    allow_if(SYS_prctl, Is(0, libc::PR_SET_SECCOMP as u64), "QEMU's `-sandbox`"),
    allow_if(SYS_prctl, Is(0, libc::PR_GET_SECCOMP as u64), "QEMU's `-sandbox`"),
    allow(SYS_seccomp, "QEMU's `-sandbox`"),
    allow(SYS_signalfd4, "signals in its main loop"),
    allow(SYS_timer_create, "timers"),
    allow(SYS_timer_settime, "timers"),
    allow(SYS_timer_delete, "timers"),
];

/// Files of a share: calls that take a descriptor and a name.
const FILES: &[Allowed] = &[
    allow(SYS_openat2, "names beneath a folder"),
    allow(SYS_getdents64, "listings"),
    allow(SYS_mkdirat, "mkdir of the guest"),
    allow(SYS_mknodat, "mknod of the guest, as Landlock allows"),
    allow(SYS_linkat, "link of the guest, and files that get their name last"),
    allow(SYS_symlinkat, "symlink of the guest"),
    allow(SYS_unlinkat, "unlink and rmdir of the guest"),
    allow(SYS_renameat2, "rename of the guest"),
    allow(SYS_fchmod, "chmod of the guest"),
    allow(SYS_fchmodat, "chmod of the guest"),
    allow(SYS_fchown, "chown of the guest"),
    allow(SYS_fchownat, "chown of the guest"),
    allow(SYS_utimensat, "times of files"),
    allow(SYS_fgetxattr, "extended attributes"),
    allow(SYS_fsetxattr, "extended attributes"),
    allow(SYS_flistxattr, "extended attributes"),
    allow(SYS_fremovexattr, "extended attributes"),
    allow(SYS_lgetxattr, "extended attributes"),
    allow(SYS_lsetxattr, "extended attributes"),
    allow(SYS_llistxattr, "extended attributes"),
    allow(SYS_lremovexattr, "extended attributes"),
    allow(libc::SYS_getxattr, "extended attributes"),
    allow(libc::SYS_setxattr, "extended attributes"),
    allow(libc::SYS_listxattr, "extended attributes"),
    allow(libc::SYS_removexattr, "extended attributes"),
    allow(SYS_flock, "locks of files"),
    allow(SYS_copy_file_range, "copies within a share"),
    allow(SYS_splice, "large requests without a copy"),
    allow(SYS_name_to_handle_at, "files that are opened again"),
    allow(SYS_open_by_handle_at, "files that are opened again"),
    allow(SYS_umask, "modes as the guest says"),
    allow_if(SYS_unshare, Is(0, libc::CLONE_FS as u64), "a mode mask per thread"),
    requests(0xe5, "FUSE"),
];

/// The users of a guest, as which libkrun makes files. Only a process that has the capabilities can use them.
const GUEST_USERS: &[Allowed] = &[
    allow(SYS_setresuid, "the guest's user"),
    allow(SYS_setresgid, "the guest's group"),
    allow(SYS_setfsuid, "the guest's user"),
    allow(SYS_setfsgid, "the guest's group"),
    allow(SYS_setgroups, "no groups of the launcher"),
    allow(SYS_capget, "its capabilities, without which some writes clear set-user-id bits"),
    allow(SYS_capset, "its capabilities, of those that it has"),
    allow_if(SYS_prctl, Is(0, libc::PR_SET_KEEPCAPS as u64), "its capabilities as another user"),
    allow_if(SYS_prctl, Is(0, libc::PR_CAPBSET_READ as u64), "the capabilities that the kernel knows"),
];

/// Changes of the host.
const WATCHES: &[Allowed] = &[
    allow(SYS_inotify_init1, "changes of the host"),
    allow(SYS_inotify_add_watch, "changes of the host"),
    allow(SYS_inotify_rm_watch, "changes of the host"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_compiles() {
        for list in [krun(false), krun(true), qemu(), share()] {
            list.compile().unwrap();
        }
    }

    #[test]
    fn each_call_has_its_reason() {
        for list in [krun(false), krun(true), qemu(), share()] {
            assert!(list.allowed.iter().all(|allowed| !allowed.why.is_empty()));
        }
    }
}
