//! Everything that touches the world: observe, apply, supervise
