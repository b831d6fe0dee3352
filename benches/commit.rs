//! What a commit costs.
fn main() {}
