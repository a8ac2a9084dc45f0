//! Messages of a client that is attached to a job: a command whose session is the supervisor's own, so that it outlives
//! its clients. The relay handles these messages; the guest's agent does not know them.

use super::payload::payload;

payload! {
    /// `core.job.attach`, flag SESSION_START: attaches to a running job. The answer is `core.job.attached`, or
    /// `core.error` (TERMINAL).
    ///
    /// The session then continues as that of a command: recent output and all new output as `core.exec.stdout` and
    /// `core.exec.stderr`, and at its end `core.exec.exited` (TERMINAL). The client may send `core.exec.stdin`,
    /// `core.exec.resize` and `core.exec.signal`. It acknowledges output with `core.exec.output.ack`, and its input is
    /// acknowledged with `core.exec.stdin.ack`. The job continues when the client disconnects.
    pub struct JobAttach {
        /// The number of the job: that of its session in `exec.log`.
        pub job: u64,
        /// The height of the client's terminal, in rows; 0 leaves the size of the job's terminal.
        #[serde(default)]
        pub rows: u16,
        /// The width of the client's terminal, in columns; 0 leaves the size of the job's terminal.
        #[serde(default)]
        pub cols: u16,
    }

    /// `core.job.attached`: the client is attached.
    pub struct JobAttached {
        /// The process id of the job in the guest.
        pub pid: u32,
        /// Whether the job has a pseudoterminal.
        pub tty: bool,
        /// Whether the standard input of the job was left open.
        pub stdin: bool,
    }

    /// `core.job.output.skipped`: output is missing here, because the client had not acknowledged enough of what came
    /// before. The log of the sandbox has it.
    pub struct JobOutputSkipped {
        /// The missing bytes of stdout and stderr.
        pub bytes: u64,
    }
}
