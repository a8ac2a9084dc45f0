//! Tests that call the file system as a guest's kernel does, on temporary directories.

mod changes;
mod disks;
mod escape;
mod files;
mod guest;
mod limits;
mod matrix;
mod matrix_operations;
mod policies;
mod quota;
