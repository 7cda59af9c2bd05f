//! Room on the disk: how much there is, whether the disk takes a write, and what a failed one means.

use std::{
    fs::{File, remove_file},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use base::ByteSize;
use store::Error;

/// A file that is written to see whether the disk takes one.
const PROBE: &str = "probe.tmp";
const PROBE_BYTES: usize = 256 << 10;

/// The disk that the data lie on, and what of its room is not for new data.
pub(crate) struct Space {
    directory: PathBuf,
    reserve: ByteSize,
}

impl Space {
    pub(crate) fn new(directory: &Path, reserve: ByteSize) -> Self {
        Self { directory: directory.to_owned(), reserve }
    }

    /// Refuses when less than the reserve is free. Costs a microsecond.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.has(self.reserve.as_u64(), "has to stay free")
    }

    /// Refuses when so little is free that writing would soon have to stop again.
    pub(crate) fn check_again(&self) -> Result<(), Error> {
        let reserve = self.reserve.as_u64();
        let wanted = reserve.saturating_add(reserve / 4);
        self.has(wanted, "has to be free (the reserve and a quarter) before writing begins again")
    }

    fn has(&self, wanted: u64, why: &str) -> Result<(), Error> {
        let disk = match rustix::fs::statvfs(&self.directory) {
            Ok(disk) => disk,
            Err(error) => return Err(io_error("measure the disk", &error.into())),
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        // Some file systems do not say; theirs is known to be full when a write fails.
        if disk.f_blocks > 0 && free < wanted {
            return Err(Error::Full(format!(
                "{} MiB is free in {}, {} MiB {why}",
                free >> 20,
                self.directory.display(),
                wanted.div_ceil(1 << 20),
            )));
        }
        Ok(())
    }

    /// Writes a file as a database would, and removes it.
    pub(crate) fn probe(&self) -> Result<(), Error> {
        let path = self.directory.join(PROBE);
        let write = || -> io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(&[0x5a; PROBE_BYTES])?;
            file.sync_all()
        };
        let written = write();
        // What the probe could not write it cannot always remove either; the next one tries again.
        let removed = remove_file(&path);
        written.and(removed).map_err(|error| io_error("write to the disk", &error))
    }
}

fn io_error(doing: &'static str, error: &io::Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::Full(error.to_string()),
        _ => Error::unavailable(doing, error.to_string()),
    }
}

/// What it means that the database could not write. Its errors carry the system's words only.
pub(crate) fn write_error(doing: &'static str, error: &rocksdb::Error) -> Error {
    let text = error.to_string();
    let full = ["No space left on device", "Disk quota exceeded", "Space limit reached"];
    if full.iter().any(|words| text.contains(words)) {
        return Error::Full(text);
    }
    Error::unavailable(doing, text)
}
