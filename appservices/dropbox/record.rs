//! The record of all that was done: a file of lines, each bound to the one before it.
//!
//! A deed and its row are one change of the store; the scribe moves rows into the file, in their order, and takes them from the
//! store once they are on the disk there. A line is JSON and holds the hash of the line before it, so that a line that was
//! changed or taken away shows from there on. Who took the last lines away is not shown: note the number and the hash of the last one
//! elsewhere from time to time, as the command prints them.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use bot_kit::Batch;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{
    drops::Drops,
    moment,
    rows::{Deed, RECORD},
    secret::hex,
};

/// Rows that are moved at a time.
const ROUND: usize = 500;

/// A disk that cannot be written to is tried again after this.
const AGAIN: Duration = Duration::from_secs(30);

/// What the first line is bound to.
const BEGINNING: &str = "yakuba-dropbox record 1";

/// Bytes of a line; longer ones are none of ours.
const LONGEST_LINE: u64 = 64 << 10;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    number: u64,
    /// The moment, for people.
    time: String,
    /// The hash of the line before.
    before: String,
    #[serde(flatten)]
    deed: Deed,
}

/// Where a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The number of the next line.
    pub(crate) next: u64,
    /// The hash of the last one.
    pub(crate) hash: String,
}

fn hash(line: &str) -> String {
    hex(&Sha256::digest(line.as_bytes()))
}

impl End {
    fn beginning() -> Self {
        Self { next: 0, hash: hash(BEGINNING) }
    }
}

/// Moves rows of the record into its file.
pub(crate) struct Scribe {
    drops: Drops,
    file: File,
    end: End,
}

impl Scribe {
    /// Opens a record, or begins it. A line that a crash left unfinished goes: its row is still in the store.
    ///
    /// # Errors
    /// When the file cannot be read, or is not whole.
    pub(crate) fn open(path: &Path, drops: Drops) -> anyhow::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let whole = end_of_last_line(&mut file)?;
        file.set_len(whole)?;
        let end = verify(path)?;
        Ok(Self { drops, file, end })
    }

    /// Writes down what there is, until the program is to end.
    pub(crate) async fn work(mut self, stop: CancellationToken) {
        loop {
            // Before the look: what comes meanwhile must wake us.
            let drops = self.drops.clone();
            let more = drops.record().notified();
            let moved = match self.round().await {
                Ok(moved) => moved,
                Err(error) => {
                    error!(%error, "the record cannot be written");
                    if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                        return;
                    }
                    continue;
                }
            };
            if moved < ROUND && stop.run_until_cancelled(more).await.is_none() {
                // What was done in the last moments is written down by the next start, if not by this.
                self.round().await.map_or_else(|error| error!(%error, "the record cannot be written"), drop);
                return;
            }
        }
    }

    async fn round(&mut self) -> anyhow::Result<usize> {
        let rows = self.drops.store().scan(&RECORD, "", None, ROUND).await?;
        let (mut lines, mut end, mut batch) = (String::new(), self.end.clone(), Batch::new());
        for (key, deed) in &rows {
            batch.delete(&RECORD, key);
            let number: u64 = key.parse()?;
            // It was written before a crash that kept it in the store.
            if number < end.next {
                continue;
            }
            let time = moment::recorded(deed.at);
            let line = Line { number, time, before: end.hash.clone(), deed: deed.clone() };
            let line = serde_json::to_string(&line)?;
            end = End { next: number + 1, hash: hash(&line) };
            lines.push_str(&line);
            lines.push('\n');
        }
        if rows.is_empty() {
            return Ok(0);
        }
        let mut file = self.file.try_clone()?;
        let before = file.metadata()?.len();
        let written = tokio::task::spawn_blocking(move || {
            let outcome = file.write_all(lines.as_bytes()).and_then(|()| file.sync_all());
            // No half of a line stays when the disk is full.
            if outcome.is_err() {
                file.set_len(before)?;
            }
            outcome
        });
        written.await??;
        self.end = end;
        self.drops.store().commit(batch).await?;
        Ok(rows.len())
    }
}

/// Where the last whole line ends.
fn end_of_last_line(file: &mut File) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = length.saturating_sub(LONGEST_LINE);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(LONGEST_LINE).read_to_end(&mut tail)?;
    let end = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    Ok(if end == 0 && start > 0 { length } else { start + end as u64 })
}

/// Goes through the lines of a record that are whole; where it ends.
fn lines(path: &Path, mut each: impl FnMut(&Line, &str) -> anyhow::Result<()>) -> anyhow::Result<End> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut end = End::beginning();
    loop {
        let mut text = String::new();
        let count = reader.by_ref().take(LONGEST_LINE).read_line(&mut text)?;
        let Some(text) = text.strip_suffix('\n') else {
            // The one that is being written now.
            anyhow::ensure!(count as u64 != LONGEST_LINE, "line {} is too long", end.next + 1);
            return Ok(end);
        };
        let shown = end.next + 1;
        let line: Line = serde_json::from_str(text).map_err(|error| {
            anyhow::anyhow!("{shown} 行目を読めません / line {shown} cannot be read: {error}")
        })?;
        anyhow::ensure!(
            line.number == end.next && line.before == end.hash,
            "{shown} 行目は前の行につながりません。変更されたか、行が抜けています / \
             line {shown} does not follow the one before it: something was changed or taken away"
        );
        each(&line, text)?;
        end = End { next: line.number + 1, hash: hash(text) };
    }
}

/// Whether all lines follow each other; where they end.
pub(crate) fn verify(path: &Path) -> anyhow::Result<End> {
    lines(path, |_, _| Ok(()))
}

/// Writes a record out: as it is, or as a table that Excel opens right.
pub(crate) fn export(path: &Path, as_table: bool, out: &mut impl Write) -> anyhow::Result<End> {
    const HEADINGS: [&str; 13] = [
        "番号",
        "日時",
        "行為",
        "誰",
        "接続元",
        "部屋",
        "URL番号",
        "ファイルID",
        "元の名前",
        "名前",
        "バイト数",
        "SHA-256",
        "備考",
    ];
    if as_table {
        // By this mark Excel knows UTF-8.
        write!(out, "\u{feff}{}\r\n", HEADINGS.join(","))?;
    }
    lines(path, |line, text| {
        if !as_table {
            return Ok(writeln!(out, "{text}")?);
        }
        let deed = &line.deed;
        let file = deed.file.as_ref();
        let of_file = |pick: fn(&crate::rows::FileOfDeed) -> String| file.map(pick).unwrap_or_default();
        let what = serde_json::to_value(deed.what)?;
        let cells = [
            line.number.to_string(),
            line.time.clone(),
            what.as_str().unwrap_or_default().to_owned(),
            deed.who.clone(),
            deed.address.clone(),
            deed.room.clone(),
            deed.link.to_string(),
            of_file(|file| file.id.clone()),
            of_file(|file| file.original_name.clone()),
            of_file(|file| file.name.clone()),
            of_file(|file| file.bytes.to_string()),
            of_file(|file| file.sha256.clone()),
            deed.details.clone(),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| cell_of_table(cell)).collect();
        Ok(write!(out, "{}\r\n", cells.join(","))?)
    })
}

/// A cell in which a programme for tables sees a text and no formula.
fn cell_of_table(text: &str) -> String {
    // In Japanese, Excel takes the wide ones for the narrow ones.
    let is_formula =
        text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|', '＝', '＋', '－', '＠', '｜', '−']);
    format!("\"{}{}\"", if is_formula { "'" } else { "" }, text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for text in ["=1+1", "＝cmd", "＋1", "－1", "＠SUM(A1)", "\t=1", "|x"] {
            assert!(cell_of_table(text).starts_with("\"'"), "{text}");
        }
        assert_eq!(cell_of_table("写真\"1\".jpg"), "\"写真\"\"1\"\".jpg\"");
    }
}
