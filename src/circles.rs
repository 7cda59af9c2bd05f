//! The house inside its crates: modules that go in circles are counted, as `floors.rs` holds the order
//! between crates.
//!
//! A module is a file, or a folder with all that is in it; inside a folder its children are modules in
//! turn. One leads to another if it names something of it by `crate::…`, `self::…` or `super::…`, in an
//! import or in a path; what is re-exported leads to where it is made. Whoever names what stands in
//! `lib.rs` or in his folder's `mod.rs` itself leads nowhere: a parent and its children are one thing.
//! Tests do not count. Nor do calls of methods, whose module no path names: a type whose verbs are
//! spread over many files ties them together unseen here.
//!
//! [`KNOWN`] says how many steps of each crate lie on circles. More is a new circle; fewer is a circle
//! undone, and the number is lowered with it, so that it does not come back.
//! Much of what is left is a handle that owns the parts whose verbs are spread over the files that know it.
//!
//! Text is read here, not Rust: what a macro makes is not seen, and what it is given is.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Crates with circles, and how many steps from module to module lie on them. All others have none.
const KNOWN: &[(&str, usize)] = &[
    ("account", 12),
    ("base", 2),
    ("bench", 7),
    ("client", 6),
    ("encryption", 18),
    ("engine", 84),
    ("hostile", 6),
    ("media", 8),
    ("pdu", 27),
    ("room", 14),
    ("server", 6),
    ("store", 47),
    ("store_postgres", 4),
    ("sync", 18),
    ("testkit", 8),
    ("web", 10),
];

/// A module's path in its crate; the crate itself is the empty one.
type Module = Vec<String>;

/// A crate as its files stand.
#[derive(Default)]
struct Source {
    /// The words and marks of each module's file, without tests, comments and what stands in quotes.
    modules: BTreeMap<Module, Vec<String>>,
    /// Where a name that a module hands on comes from.
    handed_on: BTreeMap<(Module, String), Vec<String>>,
}

/// A step from one sibling to another, and the names that make it.
type Steps = BTreeMap<(Module, Module), BTreeSet<String>>;

/// The words and marks of a text: names and numbers whole, `::` as one, everything else a character each.
fn words(text: &str) -> Vec<String> {
    let text: Vec<char> = text.chars().collect();
    let at = |i: usize| text.get(i).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let mut i = 0;
    while i < text.len() {
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < text.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= text.len() {
                        break;
                    }
                }
            }
            '"' => i = after_quote(&text, i),
            // A letter in quotes; without the second quote it is a lifetime.
            '\'' if at(i + 1) == '\\' => {
                i += 3;
                while i < text.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            'r' | 'b' | 'c' if raw_hashes(&text, i).is_some() => {
                let (start, hashes) = raw_hashes(&text, i).unwrap();
                let end: String = format!("\"{}", "#".repeat(hashes));
                let rest: String = text[start..].iter().collect();
                i = start + rest.find(&end).map_or(rest.len(), |at| rest[..at].chars().count() + end.len());
            }
            letter if letter.is_alphanumeric() || letter == '_' => {
                let start = i;
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
                found.push(text[start..i].iter().collect());
            }
            ':' if at(i + 1) == ':' => {
                found.push("::".to_owned());
                i += 2;
            }
            mark => {
                if !mark.is_whitespace() {
                    found.push(mark.to_string());
                }
                i += 1;
            }
        }
    }
    found
}

/// The place after the text in quotes that begins here.
fn after_quote(text: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < text.len() && text[i] != '"' {
        i += if text[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Where the text of `r#"…"#` and its like begins, and with how many hashes; nothing for other words.
fn raw_hashes(text: &[char], start: usize) -> Option<(usize, usize)> {
    let before = start.checked_sub(1).map(|i| text[i]);
    if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_') {
        return None;
    }
    let mut i = start;
    while matches!(text.get(i), Some('r' | 'b' | 'c')) {
        i += 1;
    }
    if !text[start..i].contains(&'r') {
        return None;
    }
    let hashes = text[i..].iter().take_while(|letter| **letter == '#').count();
    (text.get(i + hashes) == Some(&'"')).then_some((i + hashes + 1, hashes))
}

/// The words without what is compiled for tests alone.
fn without_tests(words: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let is = |i: usize, wanted: &[&str]| {
        wanted.iter().enumerate().all(|(n, w)| words.get(i + n).is_some_and(|x| x == w))
    };
    let mut i = 0;
    while i < words.len() {
        if !is(i, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            kept.push(words[i].clone());
            i += 1;
            continue;
        }
        i += 7;
        // To the end of the item: its `;`, or the brace that closes its first one.
        let mut depth = 0;
        while i < words.len() {
            let word = words[i].as_str();
            i += 1;
            match word {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(word, ";" | "}" | ",") {
                break;
            }
        }
    }
    kept
}

impl Source {
    fn read(folder: &Path) -> Self {
        let mut source = Self::default();
        let root = ["lib.rs", "main.rs"].map(|name| folder.join(name)).into_iter().find(|path| path.exists());
        if let Some(root) = root {
            source.add(Vec::new(), &root, folder);
        }
        source.find_handed_on();
        source
    }

    /// Takes in a module's file and those of its children, which lie in `folder`.
    fn add(&mut self, module: Module, file: &Path, folder: &Path) {
        let words = without_tests(&words(&fs::read_to_string(file).unwrap()));
        for pair in words.windows(3) {
            let [keyword, name, end] = pair else { unreachable!("three words") };
            if keyword != "mod" || end != ";" {
                continue;
            }
            let child = [module.clone(), vec![name.clone()]].concat();
            let (flat, below) = (folder.join(format!("{name}.rs")), folder.join(name));
            if flat.exists() {
                self.add(child, &flat, &below);
            } else if below.join("mod.rs").exists() {
                self.add(child, &below.join("mod.rs"), &below);
            }
        }
        self.modules.insert(module, words);
    }

    fn find_handed_on(&mut self) {
        for (module, words) in &self.modules {
            for (at, _) in words.iter().enumerate().filter(|(_, word)| *word == "use") {
                // `pub use`, `pub(crate) use`
                if at == 0 || !(words[at - 1] == "pub" || words[at - 1] == ")") {
                    continue;
                }
                for (path, name) in imports(&words[at + 1..]) {
                    self.handed_on.insert((module.clone(), name), path);
                }
            }
        }
    }

    /// The module of which a path names something, and the name.
    fn resolve(&self, from: &Module, path: &[String], hops: usize) -> Option<(Module, String)> {
        let (mut module, mut rest) = match path.first().map(String::as_str) {
            Some("crate") => (Vec::new(), &path[1..]),
            Some("self") => (from.clone(), &path[1..]),
            Some("super") => (from.clone(), path),
            Some(name) if self.modules.contains_key(&[&from[..], &[name.to_owned()]].concat()) => {
                (from.clone(), path)
            }
            _ => return None,
        };
        while rest.first().is_some_and(|word| word == "super") {
            module.pop()?;
            rest = &rest[1..];
        }
        while let Some(name) = rest.first() {
            let child = [&module[..], std::slice::from_ref(name)].concat();
            if !self.modules.contains_key(&child) {
                break;
            }
            (module, rest) = (child, &rest[1..]);
        }
        let Some(name) = rest.first() else { return Some((module, "*".to_owned())) };
        if let Some(onward) = self.handed_on.get(&(module.clone(), name.clone())).filter(|_| hops < 8) {
            let onward = [onward, &rest[1..]].concat();
            // What comes from another crate is made there; the name stays with whoever hands it on.
            return self.resolve(&module, &onward, hops + 1).or_else(|| Some((module, name.clone())));
        }
        Some((module, name.clone()))
    }

    /// All steps between siblings.
    fn steps(&self) -> Steps {
        let mut steps = Steps::new();
        for (from, words) in &self.modules {
            for path in paths(words) {
                let Some((to, name)) = self.resolve(from, &path, 0) else { continue };
                let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
                // A parent and its child are one thing.
                if from.len() > common && to.len() > common {
                    let step = (from[..=common].to_vec(), to[..=common].to_vec());
                    let whence = from[common + 1..].join("::");
                    let told = if whence.is_empty() { name } else { format!("{name} (in {whence})") };
                    steps.entry(step).or_default().insert(told);
                }
            }
        }
        steps
    }
}

/// The paths of an import, each with the name under which it is known here. The words begin after `use`.
fn imports(words: &[String]) -> Vec<(Vec<String>, String)> {
    let end = words.iter().position(|word| word == ";").unwrap_or(words.len());
    let mut found = Vec::new();
    let mut open: Vec<Vec<String>> = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut known_as: Option<String> = None;
    let mut close = |path: &mut Vec<String>, known_as: &mut Option<String>, back_to: &[String]| {
        if path.len() > back_to.len() {
            if path.last().is_some_and(|last| last == "self") {
                path.pop();
            }
            let name = known_as.take().or_else(|| path.last().cloned()).unwrap_or_default();
            found.push((std::mem::replace(path, back_to.to_vec()), name));
        }
    };
    let mut i = 0;
    while i < end {
        match words[i].as_str() {
            "::" => {}
            "{" => open.push(path.clone()),
            "," => close(&mut path, &mut known_as, open.last().map_or(&[], Vec::as_slice)),
            "}" => {
                close(&mut path, &mut known_as, open.last().map_or(&[], Vec::as_slice));
                // What the braces held is told; nothing is left of the path before them.
                open.pop();
                path = open.last().cloned().unwrap_or_default();
            }
            "as" => {
                known_as = words.get(i + 1).cloned();
                i += 1;
            }
            word => path.push(word.to_owned()),
        }
        i += 1;
    }
    close(&mut path, &mut known_as, &[]);
    found
}

/// All paths of a file that begin in its own crate.
fn paths(words: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut i = 0;
    while i < words.len() {
        let handed_on = i > 0 && (words[i - 1] == "pub" || words[i - 1] == ")");
        match words[i].as_str() {
            "use" => {
                // What is only handed on is no use of it.
                if !handed_on {
                    found.extend(imports(&words[i + 1..]).into_iter().map(|(path, _)| path));
                }
                i += words[i..].iter().position(|word| word == ";").unwrap_or(1);
            }
            "crate" | "self" | "super"
                if words.get(i + 1).is_some_and(|word| word == "::") && (i == 0 || words[i - 1] != "::") =>
            {
                let mut path = vec![words[i].clone()];
                while words.get(i + 1).is_some_and(|word| word == "::")
                    && words
                        .get(i + 2)
                        .is_some_and(|word| word.starts_with(|c: char| c.is_alphabetic() || c == '_'))
                {
                    path.push(words[i + 2].clone());
                    i += 2;
                }
                found.push(path);
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// For each module all that it leads to, over however many steps.
fn reach(steps: &Steps) -> BTreeMap<&Module, BTreeSet<&Module>> {
    let mut next: BTreeMap<&Module, Vec<&Module>> = BTreeMap::new();
    for (from, to) in steps.keys() {
        next.entry(from).or_default().push(to);
    }
    let all = next.keys().map(|start| {
        let mut seen = BTreeSet::new();
        let mut todo = vec![*start];
        while let Some(module) = todo.pop() {
            todo.extend(next.get(module).into_iter().flatten().filter(|to| seen.insert(**to)));
        }
        (*start, seen)
    });
    all.collect()
}

/// The steps that lie on circles, told by circle.
fn circles(steps: &Steps) -> (usize, String) {
    let reach = reach(steps);
    let leads = |from: &Module, to: &Module| reach.get(from).is_some_and(|seen| seen.contains(to));
    let mut by_circle: BTreeMap<BTreeSet<&Module>, Vec<String>> = BTreeMap::new();
    for ((from, to), names) in steps {
        if leads(to, from) {
            let members = reach[from].iter().copied().filter(|module| leads(module, from)).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let step = format!("    {} → {}: {}\n", from.join("::"), to.join("::"), names.join(", "));
            by_circle.entry(members).or_default().push(step);
        }
    }
    let mut told = String::new();
    for (members, steps) in &by_circle {
        let members: Vec<_> = members.iter().map(|module| module.join("::")).collect();
        told.push_str(&format!("  circle of {}: {}\n{}", members.len(), members.join(", "), steps.concat()));
    }
    (by_circle.values().map(Vec::len).sum(), told)
}

/// The folders of all crates: those in `src/`, and those in a folder of it that gathers some of one subject.
fn crates_below(src: &Path) -> Vec<PathBuf> {
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    };
    let first = below(src);
    let second: Vec<_> = first.iter().flat_map(|folder| below(folder)).collect();
    first.into_iter().chain(second).filter(|folder| folder.join("Cargo.toml").exists()).collect()
}

#[test]
fn no_crate_has_more_circles_than_are_known_nor_fewer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = String::new();
    let mut crates = 0;
    for folder in crates_below(&src) {
        crates += 1;
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let known = KNOWN.iter().find(|(krate, _)| *krate == name).map_or(0, |(_, known)| *known);
        let (found, told) = circles(&Source::read(&folder).steps());
        if found > known {
            wrong.push_str(&format!("{name}: {found} steps lie on circles, {known} were known\n{told}"));
        } else if found < known {
            wrong.push_str(&format!(
                "{name}: {found} steps lie on circles: write that instead of {known} into KNOWN\n"
            ));
        }
    }
    assert!(crates > 10, "{crates} crates were found");
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// A crate of files that are never written.
fn made_of(files: &[(&str, &str)]) -> Source {
    let mut source = Source::default();
    for (module, text) in files {
        let module = module.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        source.modules.insert(module, without_tests(&words(text)));
    }
    source.find_handed_on();
    source
}

#[test]
fn a_circle_is_found_with_its_members_and_names() {
    let source = made_of(&[
        ("", "mod a; mod b; mod c; pub use self::c::{Made as Known, Other};"),
        ("a", "use crate::b::{self, deep::{One, Two}};"),
        ("b", "fn f() { g(crate::Known::new()) } // crate::a::Comment"),
        ("c", "const T: &str = \"crate::a::Quoted\"; fn f(x: super::a::Thing<'_>) { 'x'; r#\"crate::b\"#; }"),
    ]);
    let (count, told) = circles(&source.steps());
    assert_eq!(count, 3, "{told}");
    assert_eq!(told, "  circle of 3: a, b, c\n    a → b: *, deep\n    b → c: Made\n    c → a: Thing\n");
}

#[test]
fn tests_parents_and_what_is_handed_on_make_no_circle() {
    let source = made_of(&[
        ("", "mod a; mod b;"),
        ("a", "mod x; mod y; pub(crate) use self::x::X; use self::y::Y; struct A;"),
        ("a::x", "use super::A; use crate::b::B;"),
        ("a::y", "use super::{A, X};"),
        ("b", "struct B; #[cfg(test)] mod tests { use crate::a::A; }"),
    ]);
    assert_eq!(circles(&source.steps()), (0, String::new()));
}

#[test]
fn children_of_a_folder_may_go_in_a_circle_of_their_own() {
    let source = made_of(&[
        ("", "mod a;"),
        ("a", "mod x; mod y;"),
        ("a::x", "use super::y::Y;"),
        ("a::y", "fn f() -> crate::a::x::X {}"),
    ]);
    assert_eq!(circles(&source.steps()).0, 2);
}
