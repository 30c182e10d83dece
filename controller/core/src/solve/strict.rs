//! Fields that nobody reads, and the lines of fields.
//!
//! Kubernetes' types skip fields that they do not know, so a misspelt one would be lost silently. The text, known to be valid
//! JSON of the right types by now, is therefore walked once more beside the schema of the types.

use super::SolveError;
use schemars::Schema;
use serde_json::Value;

/// Refuses the first field that the schema does not know.
pub(super) fn refuse_unknown_fields(text: &str, schema: &Schema) -> Result<(), SolveError> {
    let root = schema.as_value();
    let mut walk = Walk { bytes: text.as_bytes(), at: 0, line: 1, path: Vec::new(), root, wanted: None, found: None };
    walk.value(Some(root))
}

/// The line of the field at `path`, or of the nearest one around it.
pub(super) fn line_of(text: &str, path: &str) -> usize {
    let root = Value::Null;
    let mut walk =
        Walk { bytes: text.as_bytes(), at: 0, line: 1, path: Vec::new(), root: &root, wanted: Some(path), found: None };
    // Without a schema there is nothing to refuse.
    let _ = walk.value(None);
    walk.found.map_or(1, |(_, line)| line)
}

/// A walk over JSON text that counts lines and knows where it is.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
    path: Vec<String>,
    root: &'a Value,
    wanted: Option<&'a str>,
    /// Length of the longest path on the way to `wanted`, and its line.
    found: Option<(usize, usize)>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: Option<&'a Value>) -> Result<(), SolveError> {
        self.space();
        match self.peek() {
            b'{' => self.object(schema),
            b'[' => self.array(schema),
            b'"' => {
                self.text();
                Ok(())
            }
            _ => {
                while !matches!(self.peek(), b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t' | 0) {
                    self.at += 1;
                }
                Ok(())
            }
        }
    }

    fn object(&mut self, schema: Option<&'a Value>) -> Result<(), SolveError> {
        self.at += 1;
        loop {
            self.space();
            match self.peek() {
                b'"' => {}
                b',' => {
                    self.at += 1;
                    continue;
                }
                _ => break,
            }
            let line = self.line;
            let key = self.text();
            self.path.push(if self.path.is_empty() { key.clone() } else { format!(".{key}") });
            self.note(line);
            let field = schema.map_or(Field::Open, |schema| field(self.root, schema, &key));
            let inner = match field {
                Field::Unknown(known) => return Err(self.unknown(line, &key, &known)),
                Field::Known(inner) => Some(inner),
                Field::Open => None,
            };
            self.space();
            self.at += 1;
            self.value(inner)?;
            self.path.pop();
        }
        self.at += 1;
        Ok(())
    }

    fn array(&mut self, schema: Option<&'a Value>) -> Result<(), SolveError> {
        let items = schema.and_then(|schema| items(self.root, schema));
        self.at += 1;
        let mut index = 0;
        loop {
            self.space();
            match self.peek() {
                b']' | 0 => break,
                b',' => self.at += 1,
                _ => {
                    self.path.push(format!("[{index}]"));
                    self.note(self.line);
                    self.value(items)?;
                    self.path.pop();
                    index += 1;
                }
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Remembers the line where the path leads towards what is wanted.
    fn note(&mut self, line: usize) {
        let Some(wanted) = self.wanted else { return };
        let here = self.path.concat();
        let towards = wanted.strip_prefix(&here).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        if towards && self.found.is_none_or(|(length, _)| here.len() > length) {
            self.found = Some((here.len(), line));
        }
    }

    fn unknown(&self, line: usize, key: &str, known: &[&str]) -> SolveError {
        let near = known
            .iter()
            .find(|known| known.eq_ignore_ascii_case(key) || known.starts_with(key) || key.starts_with(**known));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        SolveError { path: Some(self.path.concat()), line, message: format!("unknown field `{key}`{hint}") }
    }

    /// The text of the string that begins here, with simple escapes undone.
    fn text(&mut self) -> String {
        let start = self.at;
        self.at += 1;
        while self.peek() != b'"' && self.peek() != 0 {
            self.at += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        let raw = self.bytes.get(start..self.at).unwrap_or_default();
        serde_json::from_slice(raw).unwrap_or_default()
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.line += usize::from(self.peek() == b'\n');
            self.at += 1;
        }
    }

    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }
}

/// What a schema says of a field.
enum Field<'a> {
    Known(&'a Value),
    /// Any field is allowed here, of any kind.
    Open,
    /// There is no such field; these there are.
    Unknown(Vec<&'a str>),
}

fn field<'a>(root: &'a Value, schema: &'a Value, key: &str) -> Field<'a> {
    let mut known = Vec::new();
    let mut open = true;
    for variant in variants(root, schema) {
        if let Some(properties) = variant.get("properties").and_then(Value::as_object) {
            if let Some(inner) = properties.get(key) {
                return Field::Known(inner);
            }
            open = false;
            known.extend(properties.keys().map(String::as_str));
        }
        match variant.get("additionalProperties") {
            Some(inner @ Value::Object(_)) => return Field::Known(inner),
            Some(Value::Bool(true)) => return Field::Open,
            _ => {}
        }
    }
    if open { Field::Open } else { Field::Unknown(known) }
}

fn items<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    variants(root, schema).into_iter().find_map(|variant| variant.get("items"))
}

/// A schema with everything that it refers to or offers as alternatives.
fn variants<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![schema];
    let mut next = 0;
    while next < found.len() {
        let own = found[next];
        next += 1;
        if let Some(target) =
            own.get("$ref").and_then(Value::as_str).and_then(|path| root.pointer(path.trim_start_matches('#')))
        {
            found.push(target);
        }
        for list in ["anyOf", "allOf", "oneOf"] {
            found.extend(own.get(list).and_then(Value::as_array).into_iter().flatten());
        }
    }
    found
}
