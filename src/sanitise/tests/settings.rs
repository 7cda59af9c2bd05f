//! What an office may set, and archives that two machines wrote.

use lopdf::dictionary;
use sanitise::{Bounds, Kind, Links, Reason, Settings};

use super::{
    holds, reason, rebuilt,
    samples::{RawEntry, entry, pdf, zip},
    sanitise, unpack, worker,
};

#[tokio::test]
async fn where_links_are_not_wished_none_is_left() {
    let file = pdf(|document, _, page| {
        let note = document.add_object(dictionary! {
            "Type" => "Annot", "Subtype" => "Link", "Rect" => vec![0.into(), 0.into(), 9.into(), 9.into()],
            "A" => dictionary! { "S" => "URI", "URI" => lopdf::Object::string_literal("https://www.city.kanazawa.lg.jp/") },
        });
        document.get_dictionary_mut(page).unwrap().set("Annots", vec![note.into()]);
    });
    let settings = Settings { links: Links::Removed, ..Settings::default() };
    let bytes = rebuilt(worker(Bounds::default()).sanitise(&file[..], None, &settings).await.unwrap());
    assert!(!holds(&bytes, b"kanazawa.lg.jp"));
    let document = lopdf::Document::load_mem(&bytes).unwrap();
    assert_eq!(document.extract_text(&[1]).unwrap().trim(), "Kanazawa", "the page stays");
}

#[tokio::test]
async fn names_of_an_archive_are_each_read_as_they_were_meant_where_two_machines_wrote_it() {
    let windows = RawEntry { name: b"\x83\x5c\x83t\x83g.txt", data: b"a", flags: 0, mode: 0 };
    let other = RawEntry { name: "図面.txt".as_bytes(), data: b"b", flags: 0x800, mode: 0 };
    let bytes = rebuilt(sanitise(&zip(&[windows, other, entry("c.txt", b"c")]), None).await);
    let names: Vec<String> = unpack(&bytes).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["ソフト.txt", "図面.txt", "c.txt"]);
}

#[tokio::test]
async fn what_cannot_be_looked_into_passes_only_where_the_office_has_said_so() {
    let mut ichitaro = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    ichitaro.resize(1_024, 0);
    for name in ["DocumentText", "LineMark"] {
        ichitaro.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
    }
    let mut autocad = b"AC1032\0\0\0\0\0\0".to_vec();
    autocad.resize(1_024, 0);
    for (file, kind) in [(ichitaro, Kind::Jtd), (autocad, Kind::Dwg)] {
        let outcome = sanitise(&file, None).await;
        assert_eq!(reason(&outcome), Some(Reason::Unchecked), "{kind:?}: {outcome:?}");
        let settings = Settings { unchecked: vec![kind], ..Settings::default() };
        let outcome = worker(Bounds::default()).sanitise(&file[..], None, &settings).await.unwrap();
        assert!(reason(&outcome).is_none() && outcome.kind == Some(kind), "{outcome:?}");
    }
    // DocuWorks is known by nothing that can be relied on.
    let docuworks = [&b"\x60\x0e\x82\x80"[..], &[0; 600]].concat();
    assert!(reason(&sanitise(&docuworks, Some("起案.xdw")).await).is_some());
}
