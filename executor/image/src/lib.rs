//! Images: from a local directory or archive to one read-only file system per digest
