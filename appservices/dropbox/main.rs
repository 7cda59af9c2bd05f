//! `yakuba-dropbox`: the application service as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    dropbox::main()
}
