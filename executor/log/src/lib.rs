//! Log files of a sandbox: written by its supervisor, read by anyone
