//! The jq queries that nearly every stage is made of, run without jq: `.a.b`, `.a["b"]`, `.a.[]`, `.a[] | select(.b == "c") | .d`.
//!
//! They are tried on every change of every node and pod, so they borrow from the object and allocate only their outputs. A
//! property test holds them to what jaq answers.

use serde_json::Value;

/// A query of the simple kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Field(String),
    Each,
    /// Keep the value if the field at this path is this text.
    Select(Vec<String>, String),
}

/// A query that ran into a value of the wrong type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongType;

impl Path {
    /// Reads `query`; none if it is more than a simple path.
    pub(crate) fn parse(query: &str) -> Option<Self> {
        let mut parser = Parser { rest: query };
        let mut segments = parser.path()?;
        while parser.eat("|") {
            if parser.eat("select") {
                segments.push(parser.select()?);
            } else {
                segments.extend(parser.path()?);
            }
        }
        parser.skip_space();
        parser.rest.is_empty().then_some(Self(segments))
    }

    /// The outputs for `object`, nulls included.
    pub(crate) fn run<'a>(&self, object: &'a Value) -> Result<Vec<&'a Value>, WrongType> {
        let mut values = vec![object];
        for segment in &self.0 {
            values = segment.run(values)?;
        }
        Ok(values)
    }
}

impl Segment {
    fn run<'a>(&self, values: Vec<&'a Value>) -> Result<Vec<&'a Value>, WrongType> {
        match self {
            Self::Field(name) => values.into_iter().map(|value| field(value, name)).collect(),
            Self::Each => {
                let mut all = Vec::new();
                for value in values {
                    match value {
                        Value::Array(items) => all.extend(items),
                        Value::Object(items) => all.extend(items.values()),
                        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(WrongType),
                    }
                }
                Ok(all)
            }
            Self::Select(path, wanted) => {
                let mut kept = Vec::new();
                for value in values {
                    let found = path.iter().try_fold(value, |value, name| field(value, name))?;
                    if found.as_str() == Some(wanted) {
                        kept.push(value);
                    }
                }
                Ok(kept)
            }
        }
    }
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a Value, WrongType> {
    match value {
        Value::Object(fields) => Ok(fields.get(name).unwrap_or(&Value::Null)),
        Value::Null => Ok(&Value::Null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Err(WrongType),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_space();
        self.rest.strip_prefix(token).map(|rest| self.rest = rest).is_some()
    }

    /// At least one of `.name`, `."name"`, `["name"]`, `[]`, each after the first optionally without its dot.
    fn path(&mut self) -> Option<Vec<Segment>> {
        if !self.eat(".") {
            return None;
        }
        let mut segments = vec![self.after_dot()?];
        loop {
            if self.rest.starts_with('[') {
                segments.push(self.bracket()?);
            } else if let Some(rest) = self.rest.strip_prefix('.') {
                self.rest = rest;
                segments.push(self.after_dot()?);
            } else {
                return Some(segments);
            }
        }
    }

    fn after_dot(&mut self) -> Option<Segment> {
        match self.rest.chars().next()? {
            '[' => self.bracket(),
            '"' => self.text().map(Segment::Field),
            _ => self.identifier().map(|name| Segment::Field(name.to_owned())),
        }
    }

    fn bracket(&mut self) -> Option<Segment> {
        self.rest = self.rest.strip_prefix('[')?;
        if self.eat("]") {
            return Some(Segment::Each);
        }
        let name = self.text()?;
        self.eat("]").then_some(Segment::Field(name))
    }

    fn identifier(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        self.rest = rest;
        begins_well.then_some(name)
    }

    /// A literal without escapes or interpolation; those are jq's business.
    fn text(&mut self) -> Option<String> {
        self.skip_space();
        let inner = self.rest.strip_prefix('"')?;
        let end = inner.find('"')?;
        let text = &inner[..end];
        self.rest = &inner[end + 1..];
        (!text.contains('\\')).then(|| text.to_owned())
    }

    fn select(&mut self) -> Option<Segment> {
        if !self.eat("(") {
            return None;
        }
        let path = self.path()?.into_iter().map(|segment| match segment {
            Segment::Field(name) => Some(name),
            Segment::Each | Segment::Select(..) => None,
        });
        let path = path.collect::<Option<Vec<_>>>()?;
        let wanted = self.eat("==").then(|| self.text()).flatten()?;
        self.eat(")").then_some(Segment::Select(path, wanted))
    }
}
