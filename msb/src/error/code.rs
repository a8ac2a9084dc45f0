//! What a failure is, for programs: its code in JSON, and its exit code.

use serde::Serialize;
use std::process::ExitCode;

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $exit:literal;)*) => {
        /// What a failure is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum ErrorCode {
            $($(#[$meta])* $variant,)*
        }

        impl ErrorCode {
            /// Returns the exit code, as `msb --help` lists it.
            pub fn exit(self) -> u8 {
                match self {
                    $(Self::$variant => $exit,)*
                }
            }

            /// All codes.
            #[cfg(test)]
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
        }
    };
}

codes! {
    /// Any other failure.
    Failed = 1;
    /// The Sandboxfile is invalid.
    InvalidSandboxfile = 1;
    /// The lock file or a trusted Sandboxfile does not match.
    Mismatch = 3;
    /// A wait timed out.
    TimedOut = 4;
    /// Another msb has locked the project.
    Locked = 5;
    /// There is no sandbox of this name.
    SandboxNotFound = 6;
    /// There is no volume of this name.
    VolumeNotFound = 6;
    /// There is no such image on this machine.
    ImageNotFound = 6;
    /// There is no snapshot of this name.
    SnapshotNotFound = 6;
    /// A sandbox has this name.
    SandboxExists = 7;
    /// A volume has this name, and another spec.
    VolumeExists = 7;
    /// A snapshot has this name.
    SnapshotExists = 7;
    /// The sandbox runs, and must not.
    SandboxRunning = 8;
    /// Something uses what would be changed or removed.
    InUse = 8;
    /// The sandbox does not run.
    SandboxNotRunning = 9;
    /// The sandbox is paused.
    SandboxPaused = 9;
    /// The sandbox's agent, the driver or the host cannot do that.
    Unsupported = 10;
    /// The guest does not answer.
    Unresponsive = 11;
    /// The command line is invalid.
    Usage = 64;
    /// Ctrl-C.
    Interrupted = 130;
    /// SIGTERM.
    Terminated = 143;
}

impl ErrorCode {
    /// Returns whether a signal ended the command.
    pub fn is_signal(self) -> bool {
        matches!(self, Self::Interrupted | Self::Terminated)
    }
}

impl From<ErrorCode> for ExitCode {
    fn from(code: ErrorCode) -> Self {
        Self::from(code.exit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page that documents them has each code with its exit code.
    #[test]
    fn the_page_has_all_codes() {
        let page = include_str!("../../../docs/json.md");
        for code in ErrorCode::ALL {
            let name = serde_json::to_string(code).unwrap();
            let quoted = format!("`{}`", name.trim_matches('"'));
            let row = page.lines().find(|line| line.starts_with('|') && line.contains(&quoted));
            let row = row.unwrap_or_else(|| panic!("{quoted} is missing"));
            assert!(row.contains(&code.exit().to_string()), "{row}");
        }
    }
}
