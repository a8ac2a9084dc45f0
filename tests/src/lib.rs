//! End-to-end tests through the msb binary
