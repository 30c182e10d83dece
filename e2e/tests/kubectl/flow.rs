//! A flow: a Markdown file whose `console` blocks are commands with what they print, and whose `yaml` blocks are files.

use std::fmt::Write;

/// A user story in commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// The file's name without its ending, and the namespace that the flow has for itself.
    pub(crate) name: String,
    pub(crate) parts: Vec<Part>,
}

/// What a flow is made of, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Lines for people.
    Text(String),
    /// A file that commands name.
    File { name: String, content: String },
    /// Commands that follow one another.
    Console(Vec<Step>),
}

/// A command and what it prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// A line for the shell.
    pub(crate) command: String,
    /// Lines: `? CODE` first where it fails, then what it prints, then its errors, each behind `! `.
    pub(crate) told: Vec<String>,
}

const FENCE: &str = "```";
const CONSOLE: &str = "```console";
const FILE: &str = "```yaml ";
const COMMAND: &str = "$ ";

impl Flow {
    /// Reads a flow.
    pub(crate) fn read(name: &str, text: &str) -> Self {
        let mut parts = Vec::new();
        let mut lines = text.lines();
        let mut prose = String::new();
        while let Some(line) = lines.next() {
            let is_file = line.starts_with(FILE);
            if line != CONSOLE && !is_file {
                prose.push_str(line);
                prose.push('\n');
                continue;
            }
            parts.push(Part::Text(std::mem::take(&mut prose)));
            let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != FENCE).collect();
            parts.push(match line.strip_prefix(FILE) {
                Some(name) => Part::File { name: name.to_owned(), content: inside.join("\n") + "\n" },
                None => Part::Console(steps(&inside)),
            });
        }
        parts.push(Part::Text(prose));
        Self { name: name.to_owned(), parts }
    }

    /// The flow as its file has it.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(lines) => text.push_str(lines),
                Part::File { name, content } => {
                    let _ = write!(text, "{FILE}{name}\n{content}{FENCE}\n");
                }
                Part::Console(steps) => {
                    let _ = writeln!(text, "{CONSOLE}");
                    for step in steps {
                        let _ = writeln!(text, "{COMMAND}{}", step.command);
                        step.told.iter().for_each(|line| text.push_str(&format!("{line}\n")));
                    }
                    let _ = writeln!(text, "{FENCE}");
                }
            }
        }
        text
    }

    /// All commands, in order.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.parts.iter().flat_map(|part| match part {
            Part::Console(steps) => steps.as_slice(),
            Part::Text(_) | Part::File { .. } => &[],
        })
    }
}

fn steps(lines: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in lines {
        match line.strip_prefix(COMMAND) {
            Some(command) => steps.push(Step { command: command.to_owned(), told: Vec::new() }),
            None => match steps.last_mut() {
                Some(step) => step.told.push((*line).to_owned()),
                None => panic!("a console block begins with a command, not with `{line}`"),
            },
        }
    }
    steps
}

#[test]
fn a_flow_is_written_as_it_was_read() {
    let text =
        "# A story\n\n```yaml a.yaml\nkind: A\n```\n\nThen:\n\n```console\n$ one\n? 1\n! no\n$ two\nyes\n\nno\n```\n";
    let flow = Flow::read("story", text);
    assert_eq!(flow.text(), text);
    assert_eq!(flow.steps().count(), 2);
}
