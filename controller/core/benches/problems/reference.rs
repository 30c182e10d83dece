//! The Go program under `controller/benches/karpenter`, and what it answered before.

use crate::options::Options;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Lines, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// What the reference answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    pub(crate) price: f64,
    #[serde(default)]
    pub(crate) claims: Option<Vec<Value>>,
    /// By `namespace/name`.
    pub(crate) errors: BTreeMap<String, String>,
    /// Milliseconds.
    pub(crate) solve: f64,
    pub(crate) timed_out: bool,
    /// Bytes.
    pub(crate) peak: u64,
    pub(crate) allocated: u64,
    #[serde(default)]
    disrupted: Option<Disrupted>,
}

/// What is asked about a cluster that stands.
pub(crate) struct Question {
    /// Nodes that are looked at one by one.
    pub(crate) sample: Vec<String>,
    /// Whether to look for several that could go together.
    pub(crate) multi: bool,
    /// Whether to carry out what is found until nothing is.
    pub(crate) standstill: bool,
}

impl Question {
    /// As the reference reads it.
    pub(crate) fn json(&self) -> Value {
        json!({"sample": self.sample, "multi": self.multi, "standstill": self.standstill})
    }
}

/// What the reference's disruption answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Disrupted {
    /// By node.
    pub(crate) single: BTreeMap<String, Look>,
    pub(crate) multi: Look,
    pub(crate) price: f64,
    pub(crate) nodes: usize,
    pub(crate) evictions: usize,
    pub(crate) commands: usize,
    pub(crate) homeless: usize,
    pub(crate) seconds: f64,
}

/// One question to it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Look {
    pub(crate) millis: f64,
    /// Dollars per hour.
    pub(crate) saves: f64,
    /// How many nodes would go.
    pub(crate) nodes: usize,
}

impl Answer {
    pub(crate) fn nodes(&self) -> usize {
        self.claims.as_ref().map_or(0, Vec::len)
    }
}

/// The reference. Its answers change a little from run to run; the first one to a problem is kept beside the program, so that
/// a table can be printed again while ours is worked upon.
pub(crate) struct Reference {
    program: PathBuf,
    known: BTreeMap<String, Answer>,
    running: Option<Running>,
}

struct Running {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

#[derive(Deserialize, Serialize)]
struct Kept {
    problem: String,
    answer: Answer,
}

/// What the reference says of the problem `name`; a failure is told, and then it says nothing.
pub(crate) fn told<T>(name: &str, answer: std::io::Result<T>) -> Option<T> {
    answer.inspect_err(|error| println!("{name}: the reference failed: {error}")).ok()
}

impl Reference {
    /// The one that is asked for; none, which is told, where Go is not there.
    pub(crate) fn of(options: &Options) -> Option<Self> {
        let reference = options.reference.as_deref().map(Self::new);
        if reference.is_none() {
            println!("skipped: the reference (Go is not there); only the core's figures follow");
        }
        reference
    }

    /// The program at `program`, which the Makefile builds where Go is there.
    fn new(program: &Path) -> Self {
        let mut known = BTreeMap::new();
        if let Ok(file) = File::open(kept(program)) {
            let lines = BufReader::new(file).lines().map_while(Result::ok);
            let read = lines.filter_map(|line| serde_json::from_str::<Kept>(&line).ok());
            known.extend(read.map(|kept| (kept.problem, kept.answer)));
        }
        Self { program: program.to_owned(), known, running: None }
    }

    /// The answer to `input`; `timeout` is in seconds, 0 for none.
    pub(crate) fn answer(&mut self, name: &str, input: &Value, timeout: f64) -> std::io::Result<Answer> {
        let text = input.to_string();
        let key = key(name, &text);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let answer = self.ask_about(name, &text, timeout)?;
        self.keep(&key, &answer)?;
        Ok(answer)
    }

    /// As [`Self::answer`], asked anew: how long it takes stands beside ours.
    pub(crate) fn timed(&mut self, name: &str, input: &Value, timeout: f64) -> std::io::Result<Answer> {
        self.ask_about(name, &input.to_string(), timeout)
    }

    fn ask_about(&mut self, name: &str, text: &str, timeout: f64) -> std::io::Result<Answer> {
        let line = self.ask(&format!("{{\"name\":{},\"timeout\":{timeout},\"input\":{text}}}", json!(name)))?;
        Ok(serde_json::from_str(&line)?)
    }

    /// What its disruption says of the nodes of `input`. What takes time is asked anew each time, as it stands beside ours.
    pub(crate) fn disrupted(&mut self, name: &str, input: &Value, question: &Question) -> std::io::Result<Disrupted> {
        let text = input.to_string();
        let key = key(name, &text);
        let known = self.known.get(&key).filter(|_| question.standstill).and_then(|known| known.disrupted.clone());
        if let Some(known) = known {
            return Ok(known);
        }
        let asked = question.json();
        let line = self.ask(&format!("{{\"name\":{},\"disruption\":{asked},\"input\":{text}}}", json!(name)))?;
        let answer: Answer = serde_json::from_str(&line)?;
        if question.standstill {
            self.keep(&key, &answer)?;
        }
        answer.disrupted.ok_or_else(ended)
    }

    fn keep(&mut self, key: &str, answer: &Answer) -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(kept(&self.program))?;
        let kept = Kept { problem: key.to_owned(), answer: answer.clone() };
        writeln!(file, "{}", serde_json::to_string(&kept)?)?;
        self.known.insert(key.to_owned(), answer.clone());
        Ok(())
    }

    fn ask(&mut self, question: &str) -> std::io::Result<String> {
        if self.running.is_none() {
            let mut child = Command::new(&self.program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let (input, output) = (child.stdin.take(), child.stdout.take());
            let (Some(input), Some(output)) = (input, output) else { return Err(ended()) };
            self.running = Some(Running { child, input, output: BufReader::new(output).lines() });
        }
        let running = self.running.as_mut().ok_or_else(ended)?;
        running.input.write_all(question.as_bytes())?;
        running.input.flush()?;
        running.output.next().unwrap_or_else(|| Err(ended()))
    }

    /// Ends the program, so that the next problem gets a process of its own.
    pub(crate) fn end(&mut self) {
        if let Some(Running { mut child, input, .. }) = self.running.take() {
            // It ends when there is nothing more to read.
            drop(input);
            let _ = child.wait();
        }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.end();
    }
}

fn ended() -> std::io::Error {
    std::io::Error::other("the reference ended without an answer")
}

fn kept(program: &Path) -> PathBuf {
    program.with_extension("answers.jsonl")
}

fn key(name: &str, text: &str) -> String {
    let mut key = format!("{name} ");
    for byte in &Sha256::digest(text.as_bytes())[..8] {
        let _ = write!(key, "{byte:02x}");
    }
    key
}
