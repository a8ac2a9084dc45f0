//! The system calls that a process may make from now on. All others fail with ENOSYS, as in a kernel that does not have
//! them: the C library then does without, whichever version it is.

mod lists;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};
use std::collections::BTreeMap;

pub use lists::{krun, qemu, share};

/// A list of allowed system calls.
#[derive(Clone, Debug, Default)]
pub struct SyscallList {
    allowed: Vec<Allowed>,
}

/// An allowed system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    number: libc::c_long,
    when: When,
    /// The use of it.
    why: &'static str,
}

/// The arguments with which a system call is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// All.
    Always,
    /// The argument of this index has this value.
    Is(u8, u64),
    /// The argument of this index is the pid of this process.
    OwnPid(u8),
    /// The argument of this index has these bits, of those in the mask.
    Masked { argument: u8, mask: u64, bits: u64 },
}

/// Allows a system call.
pub(crate) const fn allow(number: libc::c_long, why: &'static str) -> Allowed {
    Allowed { number, when: When::Always, why }
}

/// Allows a system call with these arguments.
pub(crate) const fn allow_if(number: libc::c_long, when: When, why: &'static str) -> Allowed {
    Allowed { number, when, why }
}

/// A failure to restrict system calls.
#[derive(Debug, thiserror::Error)]
pub enum SyscallsError {
    /// The list cannot be compiled.
    #[error("the list of system calls cannot be compiled: {0}")]
    Compile(#[from] seccompiler::BackendError),
    /// The kernel refused it.
    #[error("seccomp: {0}")]
    Apply(#[from] seccompiler::Error),
    /// There are no lists for this processor.
    #[error("there is no list of system calls for this processor")]
    Processor,
}

impl SyscallList {
    fn of(lists: &[&[Allowed]]) -> Self {
        Self { allowed: lists.concat() }
    }

    /// Allows this thread, and those that it starts, no other system calls.
    pub(crate) fn enforce(&self) -> Result<(), SyscallsError> {
        Ok(apply_filter(&self.compile()?)?)
    }

    fn compile(&self) -> Result<BpfProgram, SyscallsError> {
        let processor = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| SyscallsError::Processor)?;
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        let mut unconditional = Vec::new();
        for allowed in &self.allowed {
            let entry = rules.entry(allowed.number).or_default();
            match allowed.when {
                When::Always => unconditional.push(allowed.number),
                When::Is(argument, value) => entry.push(rule(argument, SeccompCmpOp::Eq, value)?),
                When::OwnPid(argument) => {
                    let pid = u64::from(std::process::id());
                    entry.push(rule(argument, SeccompCmpOp::Eq, pid)?);
                }
                When::Masked { argument, mask, bits } => {
                    entry.push(rule(argument, SeccompCmpOp::MaskedEq(mask), bits)?);
                }
            }
        }
        // A call without conditions has no rules.
        for number in unconditional {
            rules.insert(number, Vec::new());
        }
        let no_such_call = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        Ok(SeccompFilter::new(rules, no_such_call, SeccompAction::Allow, processor)?.try_into()?)
    }
}

fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, SyscallsError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}
