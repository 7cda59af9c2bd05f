//! PDF: what signatures and forms become, and what pages share with what is drawn on them.

use lopdf::{Dictionary, Document, Object, Stream, StringFormat, dictionary};
use sanitise::{Kind, Part, Removed, Verdict};

use super::{
    bare::laid_open,
    holds, office, reason, rebuilt,
    samples::{HARM, pdf},
    sanitise,
};

fn rect() -> Object {
    vec![0.into(), 0.into(), 90.into(), 30.into()].into()
}

async fn made(file: &[u8]) -> (Vec<u8>, Vec<Removed>) {
    match sanitise(file, None).await.verdict {
        Verdict::Rebuilt { bytes, removed } => (bytes, removed),
        other => panic!("{other:?}"),
    }
}

fn tells(removed: &[Removed], what: Part) -> bool {
    removed.iter().any(|one| one.what == what)
}

/// A signature over a document.
fn signature(kind: &str) -> Dictionary {
    dictionary! {
        "Type" => kind, "Filter" => "Adobe.PPKLite", "SubFilter" => "adbe.pkcs7.detached",
        "ByteRange" => vec![0.into(), 100.into(), 200.into(), 300.into()],
        "Contents" => Object::String(HARM.to_vec(), StringFormat::Hexadecimal),
        "Name" => Object::string_literal("Hanako"),
    }
}

#[tokio::test]
async fn whoever_gets_a_signed_form_is_told_that_signature_and_logic_are_gone_and_its_look_stays() {
    let script = || dictionary! { "S" => "JavaScript", "JS" => Object::string_literal(HARM) };
    let file = pdf(|document, root, page| {
        let signed = document.add_object(signature("Sig"));
        let seal = document.add_object(Stream::new(
            dictionary! { "Subtype" => "Form", "BBox" => rect() },
            b"BT /F1 9 Tf (Signed) Tj ET".to_vec(),
        ));
        let field = document.add_object(dictionary! {
            "Type" => "Annot", "Subtype" => "Widget", "FT" => "Sig", "T" => Object::string_literal("seal"), "Rect" => rect(), "F" => 132,
            "V" => signed, "AP" => dictionary! { "N" => seal },
        });
        let sum = document.add_object(dictionary! {
            "Type" => "Annot", "Subtype" => "Widget", "FT" => "Tx", "T" => Object::string_literal("sum"), "V" => Object::string_literal("800"),
            "Rect" => rect(), "AA" => dictionary! { "C" => script(), "K" => script() },
        });
        let barcode = document.add_object(dictionary! {
            "Type" => "Annot", "Subtype" => "Widget", "FT" => "Btn", "T" => Object::string_literal("barcode"), "Rect" => rect(), "A" => script(),
        });
        let fields: Vec<Object> = [field, sum, barcode].map(Object::from).into();
        document.get_dictionary_mut(page).unwrap().set("Annots", fields.clone());
        let form = dictionary! { "Fields" => fields, "SigFlags" => 3, "CO" => vec![sum.into()] };
        let catalogue = document.get_dictionary_mut(root).unwrap();
        catalogue.set("AcroForm", form);
        catalogue.set("Perms", dictionary! { "DocMDP" => signed });
    });
    let (bytes, removed) = made(&file).await;
    for what in [Part::Signature, Part::Script, Part::Action] {
        assert!(tells(&removed, what), "{what:?}: {removed:?}");
    }
    assert!(Part::Signature.ja().contains("電子署名") && Part::Signature.en().contains("not survive"));
    let open = laid_open(&bytes);
    for gone in [HARM, b"ByteRange", b"Perms", b"SigFlags", b"JavaScript", b"PPKLite"] {
        assert!(!holds(&open, gone), "{}", String::from_utf8_lossy(gone));
    }
    for stays in [&b"(Signed) Tj"[..], b"/T(seal)", b"/T(sum)", b"/V(800)", b"/T(barcode)"] {
        assert!(holds(&open, stays), "{}", String::from_utf8_lossy(stays));
    }
}

#[tokio::test]
async fn a_signature_is_told_of_wherever_it_hangs() {
    for place in ["value", "parent", "time stamp", "permission"] {
        let file = pdf(|document, root, page| {
            let kind = if place == "time stamp" { "DocTimeStamp" } else { "Sig" };
            let signed = document.add_object(signature(kind));
            if place == "permission" {
                document.get_dictionary_mut(root).unwrap().set("Perms", dictionary! { "UR3" => signed });
                return;
            }
            let mut field = dictionary! { "FT" => "Sig", "T" => Object::string_literal("x") };
            let mut widget = dictionary! { "Type" => "Annot", "Subtype" => "Widget", "Rect" => rect() };
            let top = if place == "parent" {
                let widget = document.add_object(widget);
                field.set("Kids", vec![widget.into()]);
                field.set("V", signed);
                let field = document.add_object(field);
                document.get_dictionary_mut(widget).unwrap().set("Parent", field);
                document.get_dictionary_mut(page).unwrap().set("Annots", vec![widget.into()]);
                field
            } else {
                widget.extend(&field);
                // In its place, and not behind a reference.
                widget.set("V", document.get_dictionary(signed).unwrap().clone());
                let widget = document.add_object(widget);
                document.get_dictionary_mut(page).unwrap().set("Annots", vec![widget.into()]);
                widget
            };
            let form = dictionary! { "Fields" => vec![top.into()], "SigFlags" => 3 };
            document.get_dictionary_mut(root).unwrap().set("AcroForm", form);
        });
        let (bytes, removed) = made(&file).await;
        assert!(tells(&removed, Part::Signature), "{place}: {removed:?}");
        assert!(!holds(&laid_open(&bytes), HARM), "{place}");
    }
    // The same of Office's.
    let root = office::relations(&[
        ("rId1", "officeDocument", "word/document.xml", false),
        ("rId2", "origin", "_xmlsignatures/origin.sigs", false),
    ]);
    let mut parts = super::unpack(&rebuilt(sanitise(&office::word("", &[], &[]), None).await));
    parts.iter_mut().find(|(name, _)| name == "_rels/.rels").unwrap().1 = root;
    parts.push(("_xmlsignatures/origin.sigs".to_owned(), HARM.to_vec()));
    let outcome = sanitise(&office::pack(&parts), None).await;
    assert_eq!(outcome.kind, Some(Kind::Docx), "{:?}", reason(&outcome));
    let Verdict::Rebuilt { removed, .. } = outcome.verdict else { panic!() };
    assert_eq!(removed.iter().map(|one| one.what).collect::<Vec<_>>(), [Part::Signature]);
}

#[tokio::test]
async fn what_forms_draw_by_the_resources_of_their_page_stays() {
    let pixels: Vec<u8> = (0..48).collect();
    let file = pdf(|document, _, page| {
        let picture = document.add_object(Stream::new(
            dictionary! { "Subtype" => "Image", "Width" => 4, "Height" => 4, "BitsPerComponent" => 8, "ColorSpace" => "DeviceRGB" },
            pixels.clone(),
        ));
        let form = |content: &str| {
            Stream::new(dictionary! { "Subtype" => "Form", "BBox" => rect() }, content.as_bytes().to_vec())
        };
        let inner = document.add_object(form("BT /F1 9 Tf (inner) Tj ET /G1 gs q 9 0 0 9 0 0 cm /Im1 Do Q"));
        let outer = document.add_object(form("/Mine cs 1 0 0 sc 0 0 9 9 re f /Fm2 Do /S1 sh"));
        let shading = dictionary! {
            "ShadingType" => 2, "ColorSpace" => "DeviceGray", "Coords" => vec![0.into(), 0.into(), 9.into(), 0.into()],
            "Function" => dictionary! { "FunctionType" => 2, "Domain" => vec![0.into(), 1.into()], "N" => 1 },
        };
        // Of the tree, which the page takes them from.
        let things = dictionary! { "Fm1" => outer, "Fm2" => inner, "Im1" => picture };
        let page = document.get_dictionary_mut(page).unwrap();
        let mut resources = page.remove(b"Resources").unwrap().as_dict().unwrap().clone();
        let tree = page.get(b"Parent").unwrap().as_reference().unwrap();
        resources.set("XObject", things);
        resources.set("ExtGState", dictionary! { "G1" => dictionary! { "ca" => 0.5 } });
        resources.set("ColorSpace", dictionary! { "Mine" => "DeviceRGB" });
        resources.set("Shading", dictionary! { "S1" => shading });
        let content = document.add_object(Stream::new(dictionary! {}, b"/Fm1 Do".to_vec()));
        let kids = document.get_dictionary(tree).unwrap().get(b"Kids").unwrap().as_array().unwrap().clone();
        document.get_dictionary_mut(kids[0].as_reference().unwrap()).unwrap().set("Contents", content);
        document.get_dictionary_mut(tree).unwrap().set("Resources", resources);
    });
    let (bytes, removed) = made(&file).await;
    assert_eq!(removed, []);
    let document = Document::load_mem(&bytes).unwrap();
    let page = document.get_dictionary(*document.get_pages().get(&1).unwrap()).unwrap();
    assert!(!page.has(b"Resources"));
    let tree = document.get_dictionary(page.get(b"Parent").unwrap().as_reference().unwrap()).unwrap();
    let resources = document.dereference(tree.get(b"Resources").unwrap()).unwrap().1.as_dict().unwrap();
    let named = |kind: &[u8], name: &[u8]| {
        let (_, list) = document.dereference(resources.get(kind).unwrap()).unwrap();
        let (_, thing) = document.dereference(list.as_dict().unwrap().get(name).unwrap()).unwrap();
        thing.clone()
    };
    assert_eq!(
        named(b"Font", b"F1").as_dict().unwrap().get(b"BaseFont").unwrap().as_name().unwrap(),
        b"Helvetica"
    );
    assert_eq!(named(b"ColorSpace", b"Mine").as_name().unwrap(), b"DeviceRGB");
    assert!(named(b"ExtGState", b"G1").as_dict().unwrap().has(b"ca"));
    assert!(named(b"Shading", b"S1").as_dict().unwrap().has(b"Function"));
    let content = |name: &[u8]| {
        let Object::Stream(stream) = named(b"XObject", name) else { panic!() };
        assert!(!stream.dict.has(b"Resources"));
        stream.get_plain_content().unwrap()
    };
    assert_eq!(content(b"Im1"), pixels);
    for (name, stays) in [
        (&b"Fm1"[..], &["/Mine cs", "/Fm2 Do", "/S1 sh"][..]),
        (b"Fm2", &["/F1 9 Tf", "(inner) Tj", "/G1 gs", "/Im1 Do"]),
    ] {
        let shown = String::from_utf8(content(name)).unwrap();
        assert!(stays.iter().all(|one| shown.contains(one)), "{shown}");
    }
}
