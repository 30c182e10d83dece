//! A run as a person reads it, and as snapshots hold it: what was asked, decided, bought and lost, one line each. What only
//! differs in drawn names is one line with a count, and drawn names become numbers in order of appearance.

use crate::event_log::{Entry, Source};
use regex::{Captures, Regex};
use std::{collections::BTreeMap, fmt::Write, sync::LazyLock};

/// What the lines are made of; it stands first in every timeline.
pub const LEGEND: &str = "\
# +h:mm:ss who what, `xN` where N things did the same in that second.
# step: the scenario. controller: its decisions. cloud: calls that change something. machine: fake machines and their kubelets.
# cluster: pods, and Nodes and NodeClaims that are gone. Machines, fleets, templates, Nodes and NodeClaims are numbered.
";

/// Operations whose names begin so change nothing.
const READS: [&str; 3] = ["Describe", "Get", "List"];

static DRAWN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b(?:(i|lt|fleet)-[0-9a-f][0-9a-f-]{16,}|(ip)-[0-9]+-[0-9]+-[0-9]+-[0-9]+[a-z0-9.-]*)"));
static POD: LazyLock<Regex> = LazyLock::new(|| pattern(r"-[a-z0-9]{8,10}-[a-z0-9]{5}\b"));
static PODS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\bPods=[^=]* (\w+=)"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is fixed and was tried")
}

/// The timeline of a run.
pub fn timeline(entries: &[Entry]) -> String {
    let mut names = Names::default();
    let mut text = LEGEND.to_owned();
    let mut lines: Vec<(i64, String, usize)> = Vec::new();
    for entry in entries {
        names.learn(entry);
        if !is_told(entry) {
            continue;
        }
        let second = entry.at_ms / 1000;
        let line = names.line(entry);
        let same = lines.iter_mut().rev().take_while(|(at, ..)| *at == second).find(|(_, known, _)| *known == line);
        match same {
            Some((.., count)) => *count += 1,
            None => lines.push((second, line, 1)),
        }
    }
    for (second, line, count) in lines {
        let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
        let times = if count > 1 { format!(" x{count}") } else { String::new() };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "+{hours}:{minutes:02}:{seconds:02} {line}{times}");
    }
    text
}

fn is_told(entry: &Entry) -> bool {
    match entry.source {
        Source::Step | Source::Controller | Source::Machine => true,
        Source::Cloud => !READS.iter().any(|read| entry.subject.starts_with(read)),
        Source::Cluster => {
            let gone = entry.what == "deleted";
            entry.subject.starts_with("pod/")
                || gone && (entry.subject.starts_with("node/") || entry.subject.starts_with("nodeclaim/"))
        }
    }
}

/// Drawn names and the numbers that stand for them.
#[derive(Default)]
struct Names {
    known: BTreeMap<String, String>,
    counts: BTreeMap<String, usize>,
    claims: Vec<String>,
}

impl Names {
    /// NodeClaims are known by their subjects; everything else by its form.
    fn learn(&mut self, entry: &Entry) {
        let created = entry.what.rsplit_once("NodeClaim=").map(|(_, rest)| rest);
        let name = entry.subject.strip_prefix("nodeclaim/").or(created).and_then(|rest| rest.split(' ').next());
        let Some((name, (pool, _))) = name.and_then(|name| Some((name, name.rsplit_once('-')?))) else { return };
        if !self.known.contains_key(name) {
            let number = self.number(pool);
            self.known.insert(name.to_owned(), number);
            self.claims.push(name.to_owned());
        }
    }

    fn number(&mut self, kind: &str) -> String {
        let count = self.counts.entry(kind.to_owned()).or_default();
        *count += 1;
        format!("{kind}#{count}")
    }

    fn line(&mut self, entry: &Entry) -> String {
        let text = format!("{:<10} {} {}", entry.source.as_str(), entry.subject, entry.what);
        let text = PODS.replace(&text, "$1");
        let text = DRAWN.replace_all(&text, |found: &Captures<'_>| {
            let name = found[0].to_owned();
            if let Some(known) = self.known.get(&name) {
                return known.clone();
            }
            let kind = found.get(1).map_or("node", |kind| kind.as_str());
            let number = self.number(kind);
            self.known.insert(name, number.clone());
            number
        });
        let text = self.claims.iter().fold(text.into_owned(), |text, name| text.replace(name, &self.known[name]));
        POD.replace_all(&text, "").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{LEGEND, timeline};
    use crate::event_log::{Entry, Source};

    fn entry(at_ms: i64, source: Source, subject: &str, what: &str) -> Entry {
        Entry { at_ms, source, subject: subject.to_owned(), what: what.to_owned() }
    }

    #[test]
    fn drawn_names_are_numbers_and_equal_lines_are_counted() {
        let entries = [
            entry(0, Source::Cluster, "pod/default/web-q5qc5468s4-b4qpq", "Pending"),
            entry(3, Source::Cluster, "pod/default/web-q5qc5468s4-cms6z", "Pending"),
            entry(800, Source::Cloud, "DescribeImages", "ok"),
            entry(1800, Source::Controller, "provisioner", "created nodeclaim NodePool=a-b NodeClaim=a-b-vv57t pods=2"),
            entry(
                1900,
                Source::Cloud,
                "CreateFleet",
                "ok fleet-5f8e8da2-129f-4a31-8614-f9689ae3aa37 i-0817b14677a440c7d",
            ),
            entry(61_000, Source::Machine, "i-0817b14677a440c7d", "joined as `ip-10-0-0-4.us-west-2.compute.internal`"),
        ];
        assert_eq!(
            timeline(&entries).strip_prefix(LEGEND).unwrap(),
            "+0:00:00 cluster    pod/default/web Pending x2\n\
             +0:00:01 controller provisioner created nodeclaim NodePool=a-b NodeClaim=a-b#1 pods=2\n\
             +0:00:01 cloud      CreateFleet ok fleet#1 i#1\n\
             +0:01:01 machine    i#1 joined as `node#1`\n"
        );
    }
}
