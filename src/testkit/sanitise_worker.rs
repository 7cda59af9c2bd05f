//! The worker's process of servers in tests, which may fail on demand: it takes files apart as `yakuba sanitise-worker` does,
//! unless the directory that it is given says otherwise.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

fn main() -> ExitCode {
    let orders = std::env::args_os().nth(1).map(PathBuf::from).unwrap_or_default();
    match fs::read_to_string(orders.join("order")).unwrap_or_default().as_str() {
        "abort" => std::process::abort(),
        // Until somebody ends it. The name comes at once with its content.
        "hang" => {
            let pid = std::process::id().to_string();
            let written = fs::write(orders.join("pid.part"), pid);
            if written.and_then(|()| fs::rename(orders.join("pid.part"), orders.join("pid"))).is_err() {
                return ExitCode::FAILURE;
            }
            loop {
                std::thread::sleep(Duration::from_secs(60));
            }
        }
        _ => sanitise::serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
    }
}
