use super::*;
use crate::tnef::tests::winmail;

fn letter(raw: &[u8]) -> Letter {
    Letter::read(raw).expect("within bounds").expect("a mail")
}

#[test]
fn japanese_mail_of_every_age_is_readable() {
    let kana = b"From: a@b.jp\r\nSubject: =?ISO-2022-JP?B?GyhJNjY3GyhC?=\r\n\
        Content-Type: text/plain; charset=ISO-2022-JP\r\n\r\n\x1b(I667\x1b(B\r\n";
    let kana = letter(kana);
    assert_eq!((&*kana.subject, &*kana.text), ("ｶｶｷ", "ｶｶｷ"));
    // CP932 with no word about it, in the subject as well.
    let cp932 = letter(b"From: a@b.jp\r\nSubject: \x8d\x48\x8e\x96\r\n\r\n\x8d\x48\x8e\x96\x87\x40\r\n");
    assert_eq!((&*cp932.subject, &*cp932.text), ("工事", "工事①"));
    let html = letter(
        "From: a@b.jp\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>工事<b>中</b></p>\r\n".as_bytes(),
    );
    assert_eq!(html.text, "工事中");
    let encoded = letter(
        b"From: a@b.jp\r\nContent-Type: text/plain; charset=\"Shift_JIS\"\r\n\
        Content-Transfer-Encoding: base64\r\n\r\njUiO\r\nlg==\r\n",
    );
    assert_eq!(encoded.text, "工事");
}

#[test]
fn subjects_and_names_that_stand_there_as_bytes_are_readable() {
    for (charset, word) in [
        ("GB2312", &b"\xb9\xa4\xb3\xcc"[..]),
        ("Shift_JIS", b"\x8d\x48\x83\x5c"),
        ("EUC-JP", b"\xb9\xa9\xbb\xf6"),
        // With a quote and a bracket among its bytes.
        ("ISO-2022-JP", b"\x1b$B9)\"#\x21<\x1b(B"),
        ("UTF-8", "工事".as_bytes()),
    ] {
        let text = charset::decode(Some(charset), word);
        assert!(text.starts_with('工'), "{text}");
        let raw = [
            b"From: \"",
            word,
            b"\" <a@b.jp>\r\nReply-To: ",
            word,
            b" <c@b.jp>\r\nSubject: Re: ",
            word,
            b"\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; charset=",
            charset.as_bytes(),
            b"\r\n\r\n",
            word,
            b"\r\n--x\r\nContent-Type: application/pdf; name=\"",
            word,
            b".pdf\"\r\n\r\n%PDF\r\n--x--\r\n",
        ]
        .concat();
        let read = letter(&raw);
        assert_eq!((&*read.subject, &*read.name, &*read.text), (&*format!("Re: {text}"), &*text, &*text));
        assert_eq!((&*read.from, read.reply_to.as_deref()), ("a@b.jp", Some("c@b.jp")), "{charset}");
        assert_eq!(read.files.first().map(|file| &*file.name), Some(&*format!("{text}.pdf")));
    }
}

#[test]
fn paragraphs_flow_as_their_sender_says_and_files_within_a_text_are_files() {
    let read = |kind: &str, body: &str| {
        letter(format!("From: a@b.jp\r\nContent-Type: text/plain{kind}\r\n\r\n{body}").as_bytes())
    };
    let body = "橋は \r\n通行止め \r\nです\r\n\r\n> いつ \r\n> から\r\n";
    let flowed = read("; charset=utf-8; format=flowed; delsp=yes", body);
    assert_eq!((&*flowed.text, &*flowed.quoted), ("橋は通行止めです", "> いつから"));
    assert_eq!(read("; charset=utf-8; Format=Flowed", body).text, "橋は 通行止め です");
    assert_eq!(read("; charset=utf-8", body).text, "橋は \n通行止め \nです");

    let file = "see\r\nbegin 644 ../a.txt\r\n#0V%T\r\n`\r\nend\r\nbelow";
    let one = read("; format=flowed", file);
    assert_eq!(one.text, "see\nbelow");
    let files: Vec<(&str, &[u8])> = one.files.iter().map(|file| (&*file.name, &*file.bytes)).collect();
    assert_eq!(files, [(".._a.txt", &b"Cat"[..])]);
    let attached = "--x\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\n%PDF\r\n".repeat(MOST_FILES);
    let both = format!(
        "From: a@b.jp\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n{file}\r\n{attached}--x--\r\n"
    );
    let both = letter(both.as_bytes());
    assert_eq!((both.files.len(), both.left_out), (MOST_FILES, 1));
}

#[test]
fn pictures_among_texts_are_files_and_a_page_stands_for_an_empty_text() {
    let part = |head: &str, body: &str| format!("--x\r\n{head}\r\n\r\n{body}\r\n");
    let mail = |kind: &str, parts: &[String]| {
        format!(
            "From: a@b.jp\r\nContent-Type: multipart/{kind}; boundary=x\r\n\r\n{}--x--\r\n",
            parts.concat()
        )
    };
    // As phones send it.
    for head in [
        "Content-Type: image/jpeg; name=p.jpg\r\nContent-Disposition: inline; filename=p.jpg",
        "Content-Type: image/jpeg; name=p.jpg",
        "Content-Type: audio/mpeg; name=p.jpg\r\nContent-Disposition: inline",
        "Content-Type: application/pdf; name=p.jpg\r\nContent-Disposition: inline",
    ] {
        let text = |text: &str| part("Content-Type: text/plain", text);
        let parts = [text("before"), part(head, "\u{fffd}EXIF of a place"), text("sent by a phone")];
        let read = letter(mail("mixed", &parts).as_bytes());
        assert_eq!(read.text, "before\n\nsent by a phone", "{head}");
        let files: Vec<&str> = read.files.iter().map(|file| &*file.name).collect();
        assert_eq!(files, ["p.jpg"], "{head}");
    }
    let page = part("Content-Type: text/html", "<div>until <a href=https://x.jp/q>Friday</a></div>");
    for blank in ["", "\r\n", " \r\n \r\n"] {
        let read =
            letter(mail("alternative", &[part("Content-Type: text/plain", blank), page.clone()]).as_bytes());
        assert_eq!(read.text, "until Friday (https://x.jp/q)");
    }
    let both = letter(mail("alternative", &[part("Content-Type: text/plain", "plain"), page]).as_bytes());
    assert_eq!(both.text, "plain");
    let invite = part("Content-Type: text/calendar; method=REQUEST", "BEGIN:VCALENDAR");
    let read = letter(mail("mixed", &[part("Content-Type: text/plain", "come"), invite]).as_bytes());
    assert!(
        read.files.iter().all(|file| file.name.ends_with(".ics")),
        "{:?}",
        read.files.first().map(|it| &it.name)
    );
}

#[test]
fn files_have_their_names_and_no_way_out_of_a_directory() {
    let raw = b"From: a@b.jp\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n\
        Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\
        Content-Disposition: attachment; filename*0*=UTF-8''%E5%B7%A5; filename*1*=%E4%BA%8B.pdf\r\n\r\nJVBE\r\nRg==\r\n\
        --x\r\nContent-Type: application/octet-stream\r\n\
        Content-Disposition: attachment; filename=\"../a\\\\b.txt\"\r\n\r\nT\r\n--x--\r\n";
    let read = letter(raw);
    let files: Vec<(&str, &[u8])> = read.files.iter().map(|file| (&*file.name, &*file.bytes)).collect();
    assert_eq!(files, [("工事.pdf", &b"%PDF"[..]), (".._a_b.txt", b"T")]);
    assert_eq!(read.text, "text");
}

/// MA10.
#[test]
fn a_file_has_the_name_that_the_pieces_of_a_header_make_together_and_no_harmless_type_hides_it() {
    let part = "Content-Type: text/plain; name=harmless.txt\r\n\
        Content-Disposition: attachment; filename*0*=\"''attached%2E\"; filename*1*=%62; filename*2=at";
    let raw = format!(
        "From: a@b.jp\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n{part}\r\n\r\ndir\r\n--x--\r\n"
    );
    let files = letter(raw.as_bytes()).files;
    assert_eq!(files.iter().map(|file| &*file.name).collect::<Vec<_>>(), ["attached.bat"]);
}

/// MA12.
#[test]
fn a_winmail_gives_its_files_and_a_broken_one_is_said_to_be_so() {
    let mail = |bytes: &[u8]| {
        let head =
            b"From: a@b.jp\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n\
            Content-Type: application/ms-tnef; name=winmail.dat\r\nContent-Transfer-Encoding: base64\r\n\r\n";
        let body = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
        letter(&[head, body.as_bytes(), b"\r\n--x--\r\n"].concat())
    };
    let opened = mail(&winmail(&[(b"\x8d\x48\x8e\x96.pdf", b"%PDF-1.7"), (b"../a.txt", b"text")]));
    let names: Vec<&str> = opened.files.iter().map(|file| &*file.name).collect();
    assert_eq!((names, opened.has_sealed), (vec!["工事.pdf", ".._a.txt"], false));
    let sealed = mail(b"no such thing");
    assert_eq!((&*sealed.files[0].name, sealed.has_sealed), ("winmail.dat", true));
}

/// MA13.
#[test]
fn a_mail_within_is_a_text_with_its_files_beside_it_and_no_part_is_lost() {
    for (encoding, body) in
        [("7bit", "From: c@d.jp\r\n\r\nwithin"), ("base64", "RnJvbTogY0BkLmpwDQoNCndpdGhpbg==")]
    {
        let raw = format!(
            "From: a@b.jp\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n\
             Content-Type: message/rfc822\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}\r\n\
             --x\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\n%PDF\r\n--x--\r\n"
        );
        let read = letter(raw.as_bytes());
        let files: Vec<(&str, &str)> = read.files.iter().map(|file| (&*file.name, &*file.kind)).collect();
        assert_eq!(files, [("添付1.txt", "text/plain"), ("a.pdf", "application/pdf")], "{encoding}");
        let text = String::from_utf8_lossy(&read.files[0].bytes);
        assert!(text.contains("<c@d.jp>") && text.ends_with("\n\nwithin"), "{encoding}: {text}");
        assert_eq!(read.text, "text", "{encoding}");
    }
}

#[test]
fn what_a_mail_within_carries_stands_beside_it_and_nowhere_else() {
    let within = |head: &str, body: &str| {
        format!(
            "Received: from a by b\r\nFrom: =?utf-8?B?5bel?= <c@d.jp>\r\nDate: Sat, 28 Nov 2026 10:00:00 +0900\r\nSubject: inner\r\n\
             Content-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\nsee\r\n--in\r\n{head}\r\n\r\n{body}\r\n--in--\r\n"
        )
    };
    let outer = |head: &str, body: &str| {
        format!(
            "From: a@b.jp\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n{head}\r\n\r\n{body}\r\n--x--\r\n"
        )
    };
    let exe = "Content-Type: application/octet-stream; name=run.exe\r\nContent-Transfer-Encoding: base64";
    let mail = within(exe, "TVqQAEVWSUw=");
    let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &mail);
    for (head, body, name) in [
        ("Content-Type: message/rfc822", &*mail, "添付1.txt"),
        (
            "Content-Type: message/rfc822; name=\"FW.eml\"\r\nContent-Transfer-Encoding: base64",
            &*encoded,
            "FW.txt",
        ),
        (
            "Content-Type: application/octet-stream; name=FW.EML\r\nContent-Transfer-Encoding: base64",
            &*encoded,
            "FW.txt",
        ),
    ] {
        let read = letter(outer(head, body).as_bytes());
        let files: Vec<(&str, &[u8])> = read.files.iter().map(|file| (&*file.name, &*file.bytes)).collect();
        let [(first, text), ("run.exe", b"MZ\x90\0EVIL")] = files[..] else {
            unreachable!("{head}: {files:?}")
        };
        assert_eq!(first, name);
        let text = String::from_utf8_lossy(text);
        assert!(
            text.contains("工 <c@d.jp>") && text.contains("28 Nov") && text.ends_with("inner\n\nsee"),
            "{text}"
        );
        assert!(!text.contains("TVqQ"), "{text}");
    }
    // Too deep: it is left out, and that is said.
    let nested = (0..DEEPEST + 1).fold("From: z@d.jp\r\n\r\ndeepest".to_owned(), |mail, number| {
        format!(
            "From: a@d.jp\r\nContent-Type: multipart/mixed; boundary=n{number}\r\n\r\n--n{number}\r\n\r\nlevel {number}\r\n--n{number}\r\nContent-Type: message/rfc822\r\n\r\n{mail}\r\n--n{number}--\r\n"
        )
    });
    let read = letter(nested.as_bytes());
    assert_eq!((read.files.len(), read.left_out), (DEEPEST, 1));
    assert!(read.files.iter().all(|file| file.kind == "text/plain" && !file.bytes.ends_with(b"deepest")));
}

/// A report that whoever was sent a mail of ours made up.
#[test]
fn a_report_says_nothing_to_people_in_our_name() {
    let raw = "From: x@evil.example\r\nContent-Type: multipart/report; boundary=x\r\n\r\n--x\r\n\
        Content-Type: message/delivery-status\r\n\r\nAction: failed\r\nStatus: 至急：パスワードを\r\n\
        Diagnostic-Code: smtp; 550 go to https://evil.example/login or WWW.evil.example で更新 @room\r\n\r\n--x--\r\n";
    let report = letter(raw.as_bytes()).report.expect("a report");
    assert_eq!(report.why, "smtp; 550 go to … or … @room");
    let long = raw.replace("550", &"5".repeat(5_000));
    assert_eq!(letter(long.as_bytes()).report.expect("a report").why.chars().count(), LONGEST_WHY);
}

/// D10.
#[test]
fn what_is_quoted_below_is_folded_and_answers_in_between_are_not() {
    let parts = |text: &str| fold(text);
    assert_eq!(
        parts("了解です\n\n花子 wrote:\n> 明日は?\n> 晴れ\n"),
        ("了解です".into(), "花子 wrote:\n> 明日は?\n> 晴れ".into())
    );
    assert_eq!(parts("> 明日は?\n晴れです"), ("> 明日は?\n晴れです".into(), String::new()));
    assert_eq!(parts("はい\n-----Original Message-----\nFrom: x").0, "はい");
    let outlook = "承知しました。\n\n差出人: 花子 <a@b.jp>\n送信日時: 2026年11月28日\n件名: 橋\n\n本文";
    assert_eq!(parts(outlook).0, "承知しました。");
    assert_eq!(parts("差出人: は誰でしょう").1, "");
    assert_eq!(parts("> だけ"), ("> だけ".into(), String::new()));
}

#[test]
fn a_mail_of_two_from_headers_is_refused_and_two_senders_in_one_are_counted() {
    for (second, name) in
        [("From", "its name"), ("FROM", "any case"), ("From ", "a blank"), ("F rom", "within it")]
    {
        let raw = format!("From: a@b.jp\r\nSubject: x\r\n{second}: boss@b.jp\r\n\r\nx");
        assert_eq!(Letter::read(raw.as_bytes()).err(), Some(Refused::Senders), "{name}");
    }
    // Behind a line that may divide parts, which is read as a header all the same.
    let hidden = b"From: a@b.jp\r\n--x\r\nFrom: boss@b.jp\r\nSubject: x\r\n\r\nx";
    assert!(Letter::read(hidden).map_or(true, |read| read.is_none_or(|letter| letter.senders == 1)));
    // What only looks like one.
    for more in [
        "Subject: x\r\n From: boss@b.jp\r\n\r\nFrom: boss@b.jp",
        "Resent-From: boss@b.jp\r\nX-From: c@b.jp\r\n\r\n> From: boss@b.jp\r\nFrom: c@b.jp",
        "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nFrom: boss@b.jp\r\n\r\ny\r\n--x--",
    ] {
        let read = letter(format!("From: a@b.jp\r\n{more}").as_bytes());
        assert_eq!((&*read.from, read.more_senders), ("a@b.jp", 0), "{more}");
    }
    assert_eq!(letter(b"From: a@b.jp, boss@b.jp, c@b.jp\r\n\r\nx").more_senders, 2);
}

/// D9.
#[test]
fn an_address_is_proved_by_our_own_mta_only() {
    let read = |results: &str, from: &str| {
        let raw = format!("Authentication-Results: {results}\r\n{from}\r\n\r\nx\r\n");
        letter(raw.as_bytes()).is_proved(Some("mx.kanazawa.test"))
    };
    let with = |results: &str| read(results, "From: a@b.jp");
    assert!(with("mx.kanazawa.test; spf=pass smtp.mailfrom=b.jp; dmarc=pass header.from=b.jp"));
    assert!(with("mx.kanazawa.test 1; dmarc=pass (p=none dis=none) header.from=B.JP"));
    for results in [
        "mx.kanazawa.test; spf=pass smtp.mailfrom=evil.test; dmarc=fail header.from=b.jp",
        "mx.kanazawa.test; dmarc=pass header.from=evil.test",
        "mx.kanazawa.test; dmarc=pass",
        "mx.evil.test; dmarc=pass header.from=b.jp",
        // The sender chose what stands in quotes and comments.
        "mx.kanazawa.test; spf=pass smtp.mailfrom=\"x; dmarc=pass header.from=b.jp\"@evil.test",
        "mx.kanazawa.test; spf=pass (x; dmarc=pass header.from=b.jp)",
        "mx.kanazawa.test; dmarc=fail header.from=b.jp; dmarc=pass header.from=b.jp",
        "mx.evil.test; dmarc=none\r\nAuthentication-Results: mx.kanazawa.test; dmarc=pass header.from=b.jp",
    ] {
        assert!(!with(results), "{results}");
    }
    let passed = "mx.kanazawa.test; dmarc=pass header.from=b.jp";
    assert!(!read(passed, "From: a@b.jp, boss@b.jp"), "of whom does it speak?");
    assert!(!letter(b"From: a@b.jp\r\n\r\nx").is_proved(Some("mx.kanazawa.test")));
    let raw = format!("Authentication-Results: {passed}\r\nFrom: a@b.jp\r\n\r\nx");
    assert!(!letter(raw.as_bytes()).is_proved(None));
}

/// D8.
#[test]
fn programs_and_lists_are_known_as_such() {
    let is = |header: &str| letter(format!("{header}\r\nFrom: a@b.jp\r\n\r\nx").as_bytes()).is_automatic;
    assert!(is("Auto-Submitted: auto-replied") && is("Precedence: bulk") && is("List-Id: <a.b>"));
    assert!(is("Precedence: Junk") && is("Content-Type: multipart/report; boundary=x"));
    assert!(!is("Auto-Submitted: no") && !is("X-A: b"));
}

/// MA2.
#[test]
fn a_bounce_says_of_which_mail_it_is_and_why() {
    let raw = b"From: mailer-daemon@mx.test\r\nAuto-Submitted: auto-replied\r\n\
        Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\n\r\nsorry\r\n--x\r\n\
        Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\n\
        Final-Recipient: rfc822; taro@example.co.jp\r\nAction: failed\r\nStatus: 5.1.1\r\n\
        Diagnostic-Code: smtp; 550 no such user\r\n\r\n--x\r\nContent-Type: text/rfc822-headers\r\n\r\n\
        From: room@in.test\r\nMessage-ID: <ours@in.test>\r\n\r\n--x--\r\n";
    let report = letter(raw).report.expect("a report");
    assert_eq!((report.of.as_deref(), &*report.action), (Some("ours@in.test"), "failed"));
    assert_eq!(report.why, "5.1.1 smtp; 550 no such user");
    let whole = String::from_utf8_lossy(raw).replace("text/rfc822-headers", "message/rfc822");
    let report = letter(whole.as_bytes()).report.expect("a report");
    assert_eq!(report.of.as_deref(), Some("ours@in.test"));
}

#[test]
fn a_mail_is_known_again_by_what_its_sender_gave_it_or_by_all_of_it() {
    let of = |head: &str, body: &str| letter(format!("{head}\r\n\r\n{body}").as_bytes()).digest;
    let head = "From: a@b.jp\r\nMessage-ID: <1@b.jp>\r\nDate: Sat, 28 Nov 2026 10:00:00 +0900";
    assert_eq!(of(head, "x"), of(&format!("Received: from y by z\r\n{head}"), "x"));
    assert_ne!(of(head, "x"), of(&head.replace("10:00", "10:01"), "x"), "a program that gives one id to all");
    assert_ne!(of(head, "x"), of(head, "y"), "whoever knows its head cannot take its place");
    assert_ne!(of(head, "x"), of(&format!("{head}\r\nContent-Type: text/html"), "x"));
    assert_ne!(of("From: a@b.jp", "x"), of("From: a@b.jp", "y"));
    assert_eq!(of("From: a@b.jp", "x"), of("From: a@b.jp", "x"));
}

#[test]
fn nothing_that_a_stranger_writes_breaks_the_reader() {
    let parts = [
        "Content-Type: multipart/mixed; boundary=x\r\n",
        "Content-Type: message/rfc822\r\n",
        "--x\r\n",
        "--x--\r\n",
        "\r\n",
        "Content-Type: multipart/digest; boundary=x\r\n",
        "=?utf-8?B?5bel",
        "?= ",
        "; filename*0*='",
        "<a&amp",
        "\u{1b}(I6",
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Type: text/html\r\n",
        "Content-Type: text/plain; format=flowed\r\n",
        "begin 644 a\n",
        "#0V%T\n",
        "end\n",
        "From: (a",
        "<b>@\"c",
        "Date: x\r\n",
        "Content-Disposition: attachment",
        "References: <a> b\r\n",
        "\n",
        ":",
        " ",
        "工",
    ];
    // A generator of its own, so that each run looks at the same mails.
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0)
    };
    for _ in 0..3_000 {
        let mail: String = (0..next() % 30).map(|_| parts[next() % parts.len()]).collect();
        assert!(
            catch_unwind(|| scan::look(mail.as_bytes()).map(|looked| Letter::of(
                &looked,
                mail.as_bytes(),
                0
            )))
            .is_ok(),
            "{mail:?}"
        );
    }
}
