//! What the command line asks for.

use sawhorse_problems::Family;
use std::path::PathBuf;

/// The reference takes a minute for 10,000 mixed pods; it is asked about problems of up to so many where nothing else is said.
const REFERENCE_PODS: u64 = 5_000;

/// At 2,000 full nodes one simulation of the reference takes a second; it is asked about clusters of up to so many.
const REFERENCE_NODES: u64 = 2_000;

pub(crate) enum Command {
    Cost,
    Standstill,
    Disruption,
    Speed,
    One(String),
    Left(String),
    /// `cargo bench` without further words runs every benchmark; this one waits to be asked.
    Nothing,
}

pub(crate) struct Options {
    pub(crate) command: Command,
    pub(crate) seeds: Option<u64>,
    /// Parts of the names that are wanted; all where nothing is said.
    only: Vec<String>,
    /// How many of the problems furthest from the bound to name, per family.
    pub(crate) worst: usize,
    /// The Go program; without it the reference is left out.
    pub(crate) reference: Option<PathBuf>,
    /// The largest problems that the reference is asked about when speed is measured.
    pub(crate) reference_pods: u64,
    /// The largest clusters that it is asked about.
    pub(crate) reference_nodes: u64,
    /// Whether answers to large problems are checked, which takes far longer than to find them.
    pub(crate) check: bool,
    /// Whether a single problem's first answer will do, before it is made cheaper.
    pub(crate) first: bool,
    /// How many thousandths more may be paid for fewer nodes, if not what is usual.
    pub(crate) fewer_nodes_within: Option<u32>,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            command: Command::Nothing,
            seeds: None,
            only: Vec::new(),
            worst: 0,
            reference: None,
            reference_pods: REFERENCE_PODS,
            reference_nodes: REFERENCE_NODES,
            check: false,
            first: false,
            fewer_nodes_within: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| format!("`{text}` is not a number"));
            match word.as_str() {
                "cost" => options.command = Command::Cost,
                "standstill" => options.command = Command::Standstill,
                "disruption" => options.command = Command::Disruption,
                "speed" => options.command = Command::Speed,
                "one" => options.command = Command::One(value()?),
                "left" => options.command = Command::Left(value()?),
                "--seeds" => options.seeds = Some(number(value()?)?),
                "--worst" => options.worst = number(value()?)? as usize,
                "--only" => options.only.push(value()?),
                "--reference" => options.reference = Some(PathBuf::from(value()?)),
                "--reference-pods" => options.reference_pods = number(value()?)?,
                "--reference-nodes" => options.reference_nodes = number(value()?)?,
                "--fewer-nodes-within" => options.fewer_nodes_within = u32::try_from(number(value()?)?).ok(),
                "--check" => options.check = true,
                "--first" => options.first = true,
                // Cargo's own.
                "--bench" => {}
                other => return Err(format!("`{other}` is not understood")),
            }
        }
        Ok(options)
    }

    /// Whether a problem of that name is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    pub(crate) fn families(&self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(|family| self.wants(family.name()))
    }
}
