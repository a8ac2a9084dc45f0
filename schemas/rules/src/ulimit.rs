//! Limits of a process's resources: `1024`, `1024:2048`, `unlimited`, `1024:unlimited`.

use std::fmt;
use std::str::FromStr;

/// The word for no limit.
const UNLIMITED: &str = "unlimited";

/// A limit of a resource: what applies, and how far a process may raise it. The largest number means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ulimit {
    /// The limit that applies.
    pub soft: u64,
    /// The limit of `soft`.
    pub hard: u64,
}

/// A text that is not a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUlimit {
    /// It is neither a number nor `unlimited`.
    #[error("`{text}` is neither a number nor `unlimited`")]
    NoNumber {
        /// The wrong part.
        text: String,
    },
    /// The limit exceeds that of processes.
    #[error("the soft limit exceeds the hard one")]
    SoftExceedsHard,
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |number: u64| {
            if number == u64::MAX { UNLIMITED.to_owned() } else { number.to_string() }
        };
        if self.soft == self.hard {
            return f.pad(&part(self.soft));
        }
        f.pad(&format!("{}:{}", part(self.soft), part(self.hard)))
    }
}

impl FromStr for Ulimit {
    type Err = InvalidUlimit;

    fn from_str(text: &str) -> Result<Self, InvalidUlimit> {
        let part = |text: &str| match text.trim() {
            UNLIMITED | "-1" => Ok(u64::MAX),
            text => text.parse().map_err(|_| InvalidUlimit::NoNumber { text: text.to_owned() }),
        };
        let (soft, hard) = text.split_once(':').unwrap_or((text, text));
        let (soft, hard) = (part(soft)?, part(hard)?);
        if soft > hard { Err(InvalidUlimit::SoftExceedsHard) } else { Ok(Self { soft, hard }) }
    }
}

crate::serde_as_text!(Ulimit);

crate::words! {
    /// A resource of a process that can be limited (setrlimit(2)).
    Resource {
        /// The size of its memory, in bytes.
        As = "as",
        /// The size of a core dump, in bytes.
        Core = "core",
        /// The time of a processor, in seconds.
        Cpu = "cpu",
        /// The size of its data, in bytes.
        Data = "data",
        /// The size of a file that it writes, in bytes.
        Fsize = "fsize",
        /// The number of file locks.
        Locks = "locks",
        /// The size of memory that is never swapped out, in bytes.
        Memlock = "memlock",
        /// The size of POSIX message queues, in bytes.
        Msgqueue = "msgqueue",
        /// The highest priority, as 20 minus its nice value.
        Nice = "nice",
        /// The number of open files.
        Nofile = "nofile",
        /// The number of processes of the user.
        Nproc = "nproc",
        /// The size of resident memory, which Linux ignores.
        Rss = "rss",
        /// The highest real-time priority.
        Rtprio = "rtprio",
        /// The time with a real-time priority without a system call, in microseconds.
        Rttime = "rttime",
        /// The number of queued signals.
        Sigpending = "sigpending",
        /// The size of a stack, in bytes.
        Stack = "stack",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_written() {
        for text in ["1024", "1024:2048", "unlimited", "0:unlimited"] {
            assert_eq!(text.parse::<Ulimit>().unwrap().to_string(), text);
        }
        assert_eq!("-1".parse(), Ok(Ulimit { soft: u64::MAX, hard: u64::MAX }));
        assert_eq!("2:1".parse::<Ulimit>(), Err(InvalidUlimit::SoftExceedsHard));
        for text in ["", ":", "1:", "1k", "18446744073709551616"] {
            assert!(matches!(text.parse::<Ulimit>(), Err(InvalidUlimit::NoNumber { .. })), "{text}");
        }
    }
}
