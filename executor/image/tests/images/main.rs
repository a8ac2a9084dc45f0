//! Images built for real, and looked at with e2fsprogs, which share no code with us.

mod archives;
mod directories;
mod disks;
mod support;
