//! How the program is linked.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |key: &str, value: &str| env::var(key).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        // Where pointers have to be corrected at the start, packed: else the list of them is a megabyte, read once and in
        // memory ever after. Needs glibc 2.36; a linker that does not know it passes over it with a warning.
        println!("cargo::rustc-link-arg-bin=yakuba=-Wl,-z,pack-relative-relocs");
    }
}
