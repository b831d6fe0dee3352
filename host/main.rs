//! The binary: one command line, one exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    callgate::cli::main()
}
