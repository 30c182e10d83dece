//! What a control plane gives of its own is masked, by the rules of `masks.yaml`.

use regex::Regex;
use serde::Deserialize;

/// The rules, in order.
pub(crate) struct Masks(Vec<(Regex, String)>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// What is masked.
    pattern: String,
    /// What stands there instead; a line of which nothing is left is left out.
    with: String,
}

impl Masks {
    pub(crate) fn read(text: &str) -> Self {
        let rules: Vec<Rule> = serde_saphyr::from_str(text).unwrap();
        Self(rules.into_iter().map(|rule| (Regex::new(&rule.pattern).unwrap(), rule.with)).collect())
    }

    /// The lines of a text, masked.
    pub(crate) fn lines(&self, text: &str) -> Vec<String> {
        let mut lines: Vec<String> = text.lines().filter_map(|line| self.line(line)).collect();
        sort_problems(&mut lines);
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    fn line(&self, line: &str) -> Option<String> {
        let mut masked = line.to_owned();
        for (pattern, with) in &self.0 {
            masked = pattern.replace_all(&masked, with).into_owned();
        }
        let masked = columns(&masked);
        (line.trim().is_empty() || !masked.is_empty()).then_some(masked)
    }
}

/// What is wrong with an object is told in whatever order it is found, by the real one in another each time.
fn sort_problems(lines: &mut [String]) {
    lines.chunk_by_mut(|one, other| [one, other].iter().all(|line| line.starts_with("* "))).for_each(<[String]>::sort);
}

/// Columns are as wide as what stands in them, masked or not: they are set two spaces apart. What is set in stays set in, but not
/// deeper than eight spaces: beyond that it is below a column.
fn columns(line: &str) -> String {
    let body = line.trim_start_matches(' ');
    let mut written = " ".repeat((line.len() - body.len()).min(8));
    let mut spaces = 0;
    for character in body.trim_end().chars() {
        if character == ' ' {
            spaces += 1;
            continue;
        }
        written.extend(std::iter::repeat_n(' ', spaces.min(2)));
        spaces = 0;
        written.push(character);
    }
    if body.is_empty() { String::new() } else { written }
}

#[test]
fn columns_are_two_spaces_apart() {
    let masks = Masks::read("[{pattern: 'b+', with: X}, {pattern: '^Waiting.*', with: ''}]");
    assert_eq!(masks.lines("  a     bbb  c d \nWaiting for it\n\nend\n\n"), ["  a  X  c d", "", "end"]);
    assert_eq!(masks.lines("* b\n* a\nc\n"), ["* X", "* a", "c"].map(str::to_owned));
}
