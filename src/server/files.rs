//! Writing files that only their owner can read: all of one, or nothing of it.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Writes a file in place of what stands there.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    write(path, text, |part| std::fs::rename(part, path))
}

/// Writes a file where none is: one that is there stays as it is, whoever makes it, and whenever.
pub(crate) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    write(path, text, |part| {
        std::fs::hard_link(part, path)?;
        std::fs::remove_file(part)
    })
}

fn write(path: &Path, text: &str, put: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let part = part_of(path);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        // A part may have been left behind with other rights.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        put(&part)?;
        // The name is on the disk with its directory.
        File::open(directory_of(path))?.sync_all()
    };
    write().inspect_err(|_| {
        // What could not be written need not be there either; the first error is the one to tell.
        std::fs::remove_file(&part).ok();
    })
}

/// Where a file is written before it gets its name; processes do not write the same.
fn part_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    }
}
