//! Prints what the admin API is, as OpenAPI has it: for programs that read or check such descriptions.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let description = admin_api::description(env!("CARGO_PKG_VERSION"));
    writeln!(io::stdout(), "{description:#}")
}
