//! The proxy between a guest and servers, in this process.

mod bodies;
mod handshake;
mod http1;
mod http2;
mod secrets;
mod splits;
mod timeouts;
mod world;
