//! The worker's process by itself, for tests; a server calls [`sanitise::serve`] from a command of its own.

fn main() -> std::process::ExitCode {
    // Whoever cannot be confined, or has lost its host, says so by its end alone: the host refuses the file.
    match sanitise::serve() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(_) => std::process::ExitCode::FAILURE,
    }
}
