//! The Sandboxfile front ends: text in, a validated model or diagnostics out.
