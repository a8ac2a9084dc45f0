//! Pure planning: desired model and observed snapshot in, plan graph and report out
