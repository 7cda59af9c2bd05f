//! Files with secrets.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Writes a file that its owner alone reads, where none is: whole, or not at all.
pub(crate) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = directory.join(name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // A link, unlike a rename, replaces nothing.
        std::fs::hard_link(&part, path)?;
        File::open(directory)?.sync_all()
    };
    let outcome = write();
    match std::fs::remove_file(&part) {
        Err(error) if outcome.is_ok() => Err(error),
        _ => outcome,
    }
}
