//! The data that crosses a border in msb
