//! From bytes to a verdict.

use crate::{
    archive, cad, jww,
    kind::{Family, Kind, detect},
    marks, office,
    outcome::{Outcome, Verdict},
    pdf, picture,
    settings::Settings,
    text::{self, Called},
    verdict::{Made, Parts, Reason, Refusal},
    zip::{Archive, Budget},
};

/// The engine's version. It is raised with every change after which some file may be judged otherwise, so that verdicts
/// of before are not believed any more.
pub const VERSION: u32 = 14;

/// Says what may be given on of a file; `name` only tells tables from other text.
///
/// The whole file is in memory, and so is what comes of it: this belongs into a process that may fail (a
/// [`Worker`](crate::Worker)'s), where bounds on memory and time hold whatever the file does.
pub fn sanitise(file: &[u8], name: Option<&str>, settings: &Settings) -> Outcome {
    if file.len() as u64 > settings.limits.input_bytes {
        return refused(None, Refusal::new(Reason::TooLarge, format!("{} bytes", file.len())));
    }
    at_depth(file, Called::Told(name), settings, &Budget::new(&settings.limits), 0)
}

fn refused(kind: Option<Kind>, refusal: Refusal) -> Outcome {
    Outcome { kind, verdict: Verdict::Refused(refusal), photo: None }
}

fn at_depth(file: &[u8], called: Called<'_>, settings: &Settings, budget: &Budget, depth: u32) -> Outcome {
    let (kind, made) = match detect(file) {
        Ok(Family::Kind(kind)) => (kind, of_kind(kind, file, settings)),
        Ok(Family::Heic) => (Kind::Jpeg, picture::heic(file, &settings.limits)),
        Ok(Family::Zip) => match zip(file, settings, budget, depth) {
            Ok((kind, parts)) => (kind, Ok(parts)),
            Err(refusal) => return refused(Some(Kind::Zip), refusal),
        },
        Ok(Family::Text) => match of_text(file, called, settings) {
            Ok((kind, parts)) => (kind, Ok(parts)),
            Err(refusal) => return refused(None, refusal),
        },
        Err(refusal) => return refused(None, refusal),
    };
    match made {
        Ok(Parts { bytes: None, photo, .. }) => Outcome { kind: Some(kind), verdict: Verdict::Clean, photo },
        Ok(Parts { bytes: Some(bytes), .. }) if bytes.len() as u64 > settings.limits.unpacked_bytes => {
            refused(Some(kind), Refusal::new(Reason::Expansion, format!("{} bytes", bytes.len())))
        }
        Ok(Parts { bytes: Some(bytes), is_png, removed, photo }) => {
            let kind = if is_png { Kind::Png } else { kind };
            // What was harmless data of a page or of pixels may be a program where it stands now.
            let found = if is_looked_through(kind) { marks::check(&bytes) } else { Ok(()) };
            match found {
                Ok(()) => Outcome { kind: Some(kind), verdict: Verdict::Rebuilt { bytes, removed }, photo },
                Err(found) => refused(Some(kind), found),
            }
        }
        Err(refusal) => refused(Some(kind), refusal),
    }
}

/// Whether bytes that were made of this kind are searched for what else they are: entries of archives have been, and texts
/// by rules of their own.
fn is_looked_through(kind: Kind) -> bool {
    !kind.is_zip() && !matches!(kind, Kind::Text | Kind::Csv | Kind::Dxf)
}

fn of_kind(kind: Kind, file: &[u8], settings: &Settings) -> Made {
    match kind {
        Kind::Pdf => pdf::sanitise(file, settings),
        Kind::Jww if jww::is_known(file) => cad::sanitise(kind, file),
        kind if kind.is_unchecked() => match settings.unchecked.contains(&kind) {
            true => cad::sanitise(kind, file),
            false => Err(Refusal::new(Reason::Unchecked, format!("{kind:?}"))),
        },
        kind => picture::sanitise(kind, file, &settings.limits),
    }
}

fn of_text(file: &[u8], called: Called<'_>, settings: &Settings) -> Result<(Kind, Parts), Refusal> {
    match cad::find_kind(file) {
        Some(kind) => Ok((kind, cad::sanitise(kind, file)?)),
        None => text::sanitise(file, called, settings.cells),
    }
}

fn zip(file: &[u8], settings: &Settings, budget: &Budget, depth: u32) -> Result<(Kind, Parts), Refusal> {
    if depth >= settings.limits.depth {
        return Err(Refusal::new(Reason::TooDeep, format!("archives {} deep", depth + 1)));
    }
    let archive = Archive::read(file, budget)?;
    // What an office program opens is no archive for people: taken apart as one it would not open any more.
    if archive.find("[Content_Types].xml").is_some() {
        return office::sanitise(&archive, budget, settings, |picture| {
            at_depth(picture, Called::Told(Some("picture.bin")), settings, budget, settings.limits.depth)
        });
    }
    if let Some(entry) = archive.find("mimetype") {
        let kind = office::odf::find_kind(&archive.unpack(entry, budget)?);
        let kind =
            kind.ok_or_else(|| Refusal::new(Reason::NotAllowed, "OpenDocument of another kind, or EPUB"))?;
        let parts = office::odf::sanitise(kind, &archive, budget, settings, |picture| {
            at_depth(picture, Called::Told(Some("picture.bin")), settings, budget, settings.limits.depth)
        })?;
        return Ok((kind, parts));
    }
    let parts = archive::sanitise(&archive, budget, &settings.limits, |entry, name| {
        at_depth(entry, Called::Kept(name), settings, budget, depth + 1)
    })?;
    Ok((Kind::Zip, parts))
}
