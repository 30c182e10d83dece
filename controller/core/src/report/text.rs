//! Columns, counts and names.

use crate::model::PodKey;
use jiff::SignedDuration;
use std::fmt::Write as _;

/// Spaces between columns.
const GAP: usize = 3;

/// `rows` in aligned columns behind `indent` spaces, one line each. The last column of a row is not filled up.
pub(super) fn table(indent: usize, rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > column + 1).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (cell, width) in row.iter().zip(&widths) {
            let fill = (width + GAP).saturating_sub(cell.chars().count());
            write!(line, "{cell}{}", " ".repeat(if *width == 0 { 0 } else { fill }))
                .expect("text takes all that is written");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `1 pod`, `2 pods`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The name, with the namespace in front unless that is `default`.
pub(super) fn pod_name(key: &PodKey) -> String {
    if &*key.namespace == "default" { key.name.to_string() } else { key.to_string() }
}

/// Names of pods in order; three or more with consecutive numbers are drawn together: `web-0…9`.
pub(super) fn pod_names(keys: impl IntoIterator<Item = PodKey>) -> String {
    let mut named: Vec<(String, Option<u64>)> = keys.into_iter().map(|key| numbered(&pod_name(&key))).collect();
    named.sort();
    let mut words = Vec::new();
    let mut rest = named.as_slice();
    while let Some((stem, number)) = rest.first() {
        let follows = |(at, (other, own)): &(u64, &(String, Option<u64>))| {
            other == stem && number.is_some() && *own == number.and_then(|first| first.checked_add(*at))
        };
        let run = (0..).zip(rest).take_while(follows).count().max(1);
        let (now, later) = rest.split_at(run);
        match (now, number) {
            ([_, _, .., (_, Some(last))], Some(first)) => words.push(format!("{stem}-{first}…{last}")),
            _ => words.extend(now.iter().map(|(stem, number)| whole(stem, *number))),
        }
        rest = later;
    }
    words.join(" ")
}

/// `web-3` as `web` and 3; other names as they are.
fn numbered(name: &str) -> (String, Option<u64>) {
    let parts = name.rsplit_once('-').and_then(|(stem, number)| Some((stem, number.parse::<u64>().ok()?)));
    match parts {
        // A number with leading zeros would not come back as it was.
        Some((stem, number)) if whole(stem, Some(number)) == name => (stem.to_owned(), Some(number)),
        _ => (name.to_owned(), None),
    }
}

fn whole(stem: &str, number: Option<u64>) -> String {
    number.map_or_else(|| stem.to_owned(), |number| format!("{stem}-{number}"))
}

/// Days, hours, minutes and seconds without those that are zero.
pub(super) fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let text: String =
        parts.iter().filter(|(number, _)| *number != 0).map(|(number, unit)| format!("{number}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::{pod_names, table};
    use crate::model::PodKey;
    use rstest::rstest;

    #[rstest]
    #[case(&["web-0"], "web-0")]
    #[case(&["web-1", "web-0"], "web-0 web-1")]
    #[case(&["web-10", "web-8", "web-9", "web-12", "db"], "db web-8…10 web-12")]
    #[case(&["web-00", "web-01", "web-02"], "web-00 web-01 web-02")]
    #[case(&[], "")]
    fn names_with_consecutive_numbers_are_drawn_together(#[case] names: &[&str], #[case] expected: &str) {
        assert_eq!(pod_names(names.iter().map(|name| PodKey::new("default", name))), expected);
    }

    #[test]
    fn other_namespaces_are_named() {
        assert_eq!(
            pod_names([PodKey::new("kube-system", "dns"), PodKey::new("default", "web")]),
            "kube-system/dns web"
        );
    }

    #[test]
    fn columns_are_aligned_and_lines_end_with_text() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        assert_eq!(table(2, &[row(&["a", "→", "x"]), row(&["bcd", "", ""])]), "  a     →   x\n  bcd\n");
    }
}
