//! What the command line asks for.

use sawhorse_problems::{Family, SEEDS};
use std::path::PathBuf;

pub(crate) enum Command {
    Cost,
    /// `cargo bench` without further words runs every benchmark; this one waits to be asked.
    Nothing,
}

pub(crate) struct Options {
    pub(crate) command: Command,
    pub(crate) seeds: u64,
    pub(crate) families: Vec<Family>,
    /// How many of the problems furthest from the bound to name, per family.
    pub(crate) worst: usize,
    /// The Go program; without it the reference is left out.
    pub(crate) reference: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options =
            Self { command: Command::Nothing, seeds: SEEDS, families: Vec::new(), worst: 0, reference: None };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| format!("`{text}` is not a number"));
            match word.as_str() {
                "cost" => options.command = Command::Cost,
                "--seeds" => options.seeds = number(value()?)?,
                "--worst" => options.worst = number(value()?)? as usize,
                "--family" => options.families.push(family(&value()?)?),
                "--reference" => options.reference = Some(PathBuf::from(value()?)),
                // Cargo's own.
                "--bench" => {}
                other => return Err(format!("`{other}` is not understood")),
            }
        }
        if options.families.is_empty() {
            options.families = Family::ALL.to_vec();
        }
        Ok(options)
    }
}

fn family(name: &str) -> Result<Family, String> {
    let known = || Family::ALL.map(Family::name).join(", ");
    Family::ALL.into_iter().find(|own| own.name() == name).ok_or_else(|| format!("`{name}` is none of {}", known()))
}
