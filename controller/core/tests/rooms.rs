//! Holds the rooms to what `ARCHITECTURE.md` says of them: pure ones stay pure, and arrows between the core's rooms go one way.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// The rooms of `controller/core/src` in the order in which they build on one another, each with the rooms that it may use. A
/// room may only use rooms above it. A new arrow is an architecture change: say so in the commit.
const ROOMS: [(&str, &[&str]); 11] = [
    ("api", &[]),
    ("model", &["api"]),
    ("scheduling", &["api", "model"]),
    ("lifecycle", &["api", "model"]),
    // Draining tells people what it waits for, with the lifecycle's events.
    ("termination", &["api", "model", "lifecycle"]),
    // Commands are told as events too, and a pod that a drain leaves alone does not keep its node.
    ("disruption", &["api", "model", "scheduling", "lifecycle", "termination"]),
    // Of scheduling the input and the results only: a second opinion shares nothing with the first.
    ("check", &["api", "model", "scheduling"]),
    // What would become of a cluster is decided by the deciders, round after round.
    ("plan", &["api", "model", "scheduling", "lifecycle", "disruption"]),
    ("report", &["api", "model", "scheduling", "lifecycle", "disruption", "plan"]),
    ("scenario", &["api", "model"]),
    ("solve", &["api", "model", "scheduling", "disruption"]),
];

/// What [`ROOMS`] allows `check` to use of `scheduling`.
const SEEN_BY_CHECK: [&str; 4] = ["PlannedNodeClaim", "Placement", "Results", "SchedulingInput"];

/// The folders that are functions of their input, from this crate's.
const PURE: [&str; 5] = [
    "src",
    "../../fake-cloud/src/world",
    "../../kwok/src/stage",
    "../../kwok/src/machine",
    "../../kwok/src/apiserver/store",
];

/// Where something banned is meant: the trait through which the shell hands machines in.
const EXCEPTIONS: [(&str, &str); 1] = [("kwok/src/machine/mod.rs", "async fn")];

/// What a pure room does without, and what it does instead.
const BANNED: [(&str, &str); 11] = [
    (".await", "it does not wait: the shell does"),
    ("async fn", "it does not wait: the shell does"),
    ("async move", "it does not wait: the shell does"),
    ("async {", "it does not wait: the shell does"),
    ("SystemTime", "the time is a field of its input"),
    ("Timestamp::now", "the time is a field of its input"),
    ("Zoned::now", "the time is a field of its input"),
    ("Instant::now", "the time is a field of its input"),
    ("rand::", "draws are handed in"),
    ("HashMap", "its order changes from run to run: use BTreeMap"),
    ("HashSet", "its order changes from run to run: use BTreeSet"),
];

#[test]
fn pure_rooms_are_pure() {
    let mut wrong = String::new();
    for folder in PURE {
        for file in sources(&crate_folder().join(folder)) {
            impurities(&file, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "pure rooms have only their input:\n{wrong}");
}

#[test]
fn arrows_between_rooms_go_one_way() {
    let mut wrong = String::new();
    for (position, (room, used)) in ROOMS.iter().enumerate() {
        for other in *used {
            let above = ROOMS[..position].iter().any(|(name, _)| name == other);
            assert!(above, "`{room}` may use `{other}`, which is not above it in the table");
        }
    }
    for file in sources(&crate_folder().join("src")) {
        arrows(&file, &mut wrong);
    }
    assert!(wrong.is_empty(), "arrows that `controller/core/tests/rooms.rs` does not allow:\n{wrong}");
}

#[test]
fn the_reader_of_sources_sees_what_it_should() {
    let text =
        "use crate::{\n    api::{labels, model::x},\n    model::Pod,\n};\n// crate::no\nlet a = crate::check::b;\n";
    let seen: Vec<(usize, &str)> =
        used_rooms(text, 1).into_iter().map(|(at, path)| (line_of(text, at), room_of(path))).collect();
    assert_eq!(seen, [(2, "api"), (3, "model"), (6, "check")]);
    let seen = |depth| used_rooms("use super::super::model::Pod;", depth).len();
    assert_eq!((seen(2), seen(3)), (1, 0));
    assert!(is_word("use rand::Rng;", 4, "rand::") && !is_word("operand::x", 3, "rand::"));
    assert_eq!(without_tests("fn a() {}\n#[cfg(test)]\nmod tests {\n}\n"), "fn a() {}\n");
}

fn crate_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).expect("the folder is part of the workspace");
        for entry in entries {
            let path = entry.expect("the folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{} has no sources: mend the paths of this test", folder.display());
    found.sort();
    found
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("sources are readable text")
}

/// Writes down what of `file` is banned from pure rooms. A line is excused by the reason given to clippy right above it.
fn impurities(file: &Path, wrong: &mut String) {
    let text = read(file);
    let mut above = "";
    for (number, line) in text.lines().enumerate() {
        let excused = above.contains("reason =");
        above = line;
        if excused || is_comment(line) {
            continue;
        }
        let meant = |banned: &str| EXCEPTIONS.iter().any(|(path, own)| file.ends_with(path) && *own == banned);
        for (banned, instead) in BANNED.into_iter().filter(|(banned, _)| !meant(banned)) {
            if line.match_indices(banned).any(|(at, _)| is_word(line, at, banned)) {
                note(wrong, file, number + 1, &format!("`{banned}`: {instead}"));
            }
        }
    }
}

/// Writes down the arrows of `file` that [`ROOMS`] does not allow. Tests may borrow from any room.
fn arrows(file: &Path, wrong: &mut String) {
    let src = crate_folder().join("src");
    let path = file.strip_prefix(&src).expect("the file is below the folder").with_extension("");
    let modules: Vec<_> = path.iter().map(|part| part.to_string_lossy()).filter(|part| part != "mod").collect();
    let last = modules.last().expect("a file has a name");
    if last == "lib" || last.ends_with("tests") || last == "fixtures" {
        return;
    }
    let text = read(file);
    let code = without_tests(&text);
    let room = &modules[0];
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| name == room) else {
        note(wrong, file, 1, &format!("room `{room}` is not in the table"));
        return;
    };
    for (at, used) in used_rooms(code, modules.len()) {
        let other = room_of(used);
        let edge = format!("`{room}` -> `{other}`");
        if other != room && !allowed.contains(&other) {
            note(wrong, file, line_of(code, at), &edge);
        }
        if room == "check" && other == "scheduling" && !sees_results_only(used) {
            note(wrong, file, line_of(code, at), &format!("{edge}: only {}", SEEN_BY_CHECK.join(", ")));
        }
    }
}

/// Whether `used`, a path that begins with `scheduling`, names only what `check` may see.
fn sees_results_only(used: &str) -> bool {
    let names = used.trim_start_matches("scheduling").split(|c: char| !is_identifier(c));
    names.filter(|name| !name.is_empty()).all(|name| SEEN_BY_CHECK.contains(&name))
}

/// What of `code` is compiled without tests; they come last in a file.
fn without_tests(code: &str) -> &str {
    code.find("#[cfg(test)]\nmod tests").map_or(code, |end| &code[..end])
}

/// Every path from the crate's root in `code`, with its position. `depth` is how many modules the code is in.
fn used_rooms(code: &str, depth: usize) -> Vec<(usize, &str)> {
    let root = "super::".repeat(depth);
    let starts = code.match_indices("crate::").chain(code.match_indices(root.as_str()));
    let mut found: Vec<(usize, &str)> = Vec::new();
    for (at, prefix) in starts.filter(|(at, prefix)| is_word(code, *at, prefix) && !in_comment(code, *at)) {
        let start = at + prefix.len();
        match code[start..].strip_prefix('{') {
            Some(list) => found.extend(listed(list, start + 1)),
            None => found.push((start, path_in(&code[start..]))),
        }
    }
    found.sort_unstable();
    found
}

/// The paths of a braced list that begins at `start`, with their positions.
fn listed(list: &str, start: usize) -> Vec<(usize, &str)> {
    let (mut found, mut rest) = (Vec::new(), list);
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
        if rest.is_empty() || rest.starts_with('}') {
            return found;
        }
        let path = path_in(rest);
        found.push((start + list.len() - rest.len(), path));
        rest = &rest[path.len().max(1)..];
    }
}

/// The path at the beginning of `text`, up to what ends it outside braces.
fn path_in(text: &str) -> &str {
    let mut open = 0;
    let ends = |c: char| {
        match c {
            '{' => open += 1,
            '}' if open > 0 => open -= 1,
            _ => return open == 0 && !is_identifier(c) && c != ':',
        }
        false
    };
    text.find(ends).map_or(text, |end| &text[..end])
}

fn room_of(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}

fn is_identifier(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether `found` at `at` of `text` is not the end of a longer name.
fn is_word(text: &str, at: usize, found: &str) -> bool {
    !found.starts_with(is_identifier) || !text[..at].ends_with(is_identifier)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn in_comment(code: &str, at: usize) -> bool {
    code[..at].rsplit('\n').next().is_some_and(is_comment)
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

fn note(wrong: &mut String, file: &Path, line: usize, what: &str) {
    writeln!(wrong, "  {}:{line}: {what}", file.display()).expect("text takes all that is written");
}
