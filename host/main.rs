//! The binary: one command line, one exit status.

use std::process::ExitCode;

/// A callback is a few hundred small allocations on several threads, most of them freed on
/// another thread than they were made on, which is what this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    callgate::cli::main()
}
