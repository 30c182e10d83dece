//! The parameters of a Query request: `Filter.1.Value.2=x` read as the tree that its dotted names spell.
//!
//! Readers *take* what they know; [`Params::finish`] then refuses what is left over, so a misspelt parameter is an answer
//! (`UnknownParameter`) and not a silence.

use super::error::Refusal;
use jiff::Timestamp;
use std::{collections::BTreeMap, ops::RangeInclusive, str::FromStr};

/// The most parameters one request may have. A `CreateFleet` of 300 overrides has about 1,600 with its tags.
const PARAMETERS_MAX: usize = 20_000;

/// The most dots a parameter's name may have; the deepest real one (`LaunchTemplateData…`) has 7.
const DEPTH_MAX: usize = 12;

/// A node of the parameter tree: a value, or parts below it, or (when nothing was sent) neither.
#[derive(Debug, Default)]
pub(crate) struct Params {
    /// The dotted name that leads here, as the client spelt it; empty at the root.
    path: String,
    value: Option<String>,
    parts: BTreeMap<String, Self>,
}

impl Params {
    /// Reads a form-encoded body (or query string).
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(body)
            .map_err(|_| Refusal::bad("MalformedQueryString", "The query string contains a syntax error"))?;
        if pairs.len() > PARAMETERS_MAX {
            let text = format!("The request has {} parameters; the limit is {PARAMETERS_MAX}", pairs.len());
            return Err(Refusal::bad("InvalidInput", text));
        }
        let mut root = Self::default();
        for (name, value) in pairs {
            root.insert(&name, value)?;
        }
        Ok(root)
    }

    fn insert(&mut self, name: &str, value: String) -> Result<(), Refusal> {
        if name.split('.').count() > DEPTH_MAX {
            return Err(Refusal::unknown_parameter(name));
        }
        let mut node = self;
        for part in name.split('.') {
            let path = if node.path.is_empty() { part.to_owned() } else { format!("{}.{part}", node.path) };
            node = node.parts.entry(part.to_owned()).or_insert_with(|| Self { path, ..Self::default() });
        }
        if node.value.replace(value).is_some() {
            let text = format!("The parameter {name} may only be specified once");
            return Err(Refusal::bad("InvalidParameterCombination", text));
        }
        Ok(())
    }

    /// The dotted name of the parameter `name` below this node, for messages.
    pub(crate) fn name_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Whether nothing (more) was sent below this node.
    pub(crate) fn is_empty(&self) -> bool {
        self.value.is_none() && self.parts.values().all(Self::is_empty)
    }

    /// Whether anything was sent (and not yet taken) under `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.parts.get(name).is_some_and(|part| !part.is_empty())
    }

    /// The part named `name`, taken out; empty when it was not sent.
    pub(crate) fn part(&mut self, name: &str) -> Self {
        self.parts.remove(name).unwrap_or_else(|| Self { path: self.name_of(name), ..Self::default() })
    }

    /// The value of the parameter `name`.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let part = self.parts.get_mut(name)?;
        part.value.take()
    }

    /// The value of the parameter at a dotted path below this node.
    pub(crate) fn text_at(&mut self, path: &str) -> Option<String> {
        match path.split_once('.') {
            None => self.text(path),
            Some((part, rest)) => self.parts.get_mut(part)?.text_at(rest),
        }
    }

    /// The value of the parameter `name`, which must be there and not empty.
    pub(crate) fn required(&mut self, name: &str) -> Result<String, Refusal> {
        let path = self.name_of(name);
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| Refusal::missing_parameter(&path))
    }

    /// The parameter `name` as `true` or `false`.
    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        self.text(name)
            .map(|text| match text.as_str() {
                "true" | "True" => Ok(true),
                "false" | "False" => Ok(false),
                _ => Err(Refusal::invalid_value(&text, &self.name_of(name), "Expecting true or false.")),
            })
            .transpose()
    }

    /// The parameter `name` as a number of any kind that parses.
    pub(crate) fn number<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Refusal> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| Refusal::invalid_value(&text, &self.name_of(name), "Expecting a number."))
            })
            .transpose()
    }

    /// The parameter `name` as an integer in `range`.
    pub(crate) fn integer(&mut self, name: &str, range: &RangeInclusive<u32>) -> Result<Option<u32>, Refusal> {
        let Some(number) = self.number::<u32>(name)? else { return Ok(None) };
        if range.contains(&number) {
            return Ok(Some(number));
        }
        let hint = format!("Expecting a value from {} to {}.", range.start(), range.end());
        Err(Refusal::invalid_value(&number.to_string(), &self.name_of(name), &hint))
    }

    /// The parameter `name` as a point in time (ISO 8601).
    pub(crate) fn timestamp(&mut self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        self.text(name)
            .map(|text| {
                let hint = "Expecting a time such as 2026-01-01T00:00:00Z.";
                text.parse().map_err(|_| Refusal::invalid_value(&text, &self.name_of(name), hint))
            })
            .transpose()
    }

    /// The parameter `name` as one of a closed set of words.
    pub(crate) fn one_of<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*meaning));
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = format!("Expecting one of {}.", known.join(", "));
        Err(Refusal::invalid_value(&text, &self.name_of(name), &hint))
    }

    /// The elements of the list `name.1`, `name.2`, … in the order of their numbers (which may have gaps, as in EC2).
    pub(crate) fn list(&mut self, name: &str) -> Result<Vec<Self>, Refusal> {
        let mut part = self.part(name);
        if let Some(value) = part.value.take() {
            return Err(Refusal::invalid_value(&value, &part.path, "Expecting a list: name its elements .1, .2, …"));
        }
        let mut elements = part
            .parts
            .into_iter()
            .map(|(index, element)| match index.parse::<u32>() {
                Ok(index) => Ok((index, element)),
                Err(_) => Err(Refusal::unknown_parameter(&element.path)),
            })
            .collect::<Result<Vec<_>, _>>()?;
        elements.sort_by_key(|(index, _)| *index);
        Ok(elements.into_iter().map(|(_, element)| element).collect())
    }

    /// The values of the list `name.1`, `name.2`, ….
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        self.list(name)?.into_iter().map(Self::into_text).collect()
    }

    /// This node's own value; a node with parts below it, or without a value, is refused.
    pub(crate) fn into_text(mut self) -> Result<String, Refusal> {
        let text = self.value.take();
        let path = self.path.clone();
        self.no_more()?;
        text.ok_or_else(|| Refusal::missing_parameter(&path))
    }

    /// The tags of `Tag.N.Key` and `Tag.N.Value` below this node; a tag without a value has an empty one.
    pub(crate) fn tags(&mut self, name: &str) -> Result<Vec<(String, String)>, Refusal> {
        let mut tags = Vec::new();
        for mut tag in self.list(name)? {
            tags.push((tag.required("Key")?, tag.text("Value").unwrap_or_default()));
            tag.no_more()?;
        }
        Ok(tags)
    }

    /// Refuses the first parameter that nobody took.
    pub(crate) fn no_more(self) -> Result<(), Refusal> {
        if self.value.is_some() {
            return Err(Refusal::unknown_parameter(&self.path));
        }
        self.parts.into_values().try_for_each(Self::no_more)
    }

    /// Whether the caller only wants to know if the call would be allowed.
    pub(crate) fn dry_run(&mut self) -> Result<bool, Refusal> {
        Ok(self.boolean("DryRun")?.unwrap_or(false))
    }

    /// Ends the reading of a call that has nothing to check beyond its parameters: refuses leftovers, and answers a dry run.
    pub(crate) fn finish(mut self) -> Result<(), Refusal> {
        let dry_run = self.dry_run()?;
        self.no_more()?;
        if dry_run { Err(Refusal::dry_run()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Params;
    use rstest::rstest;

    fn parse(body: &str) -> Params {
        Params::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn nested_lists_are_read_in_the_order_of_their_numbers() {
        let mut params = parse(
            "LaunchTemplateConfigs.1.Overrides.10.InstanceType=b&LaunchTemplateConfigs.1.Overrides.9.InstanceType=a%2Fz",
        );
        let mut configs = params.list("LaunchTemplateConfigs").unwrap();
        let types: Vec<_> =
            configs[0].list("Overrides").unwrap().iter_mut().map(|part| part.text("InstanceType").unwrap()).collect();
        assert_eq!(types, ["a/z", "b"]);
        params.finish().unwrap();
    }

    #[rstest]
    #[case::unread("InstanceId.1=i-1&Colour=red", "UnknownParameter: The parameter Colour is not recognized")]
    #[case::below_a_leaf("InstanceId.1.Name=x", "UnknownParameter: The parameter InstanceId.1.Name is not recognized")]
    #[case::not_a_list(
        "InstanceId=i-1",
        "InvalidParameterValue: Value (i-1) for parameter InstanceId is invalid. Expecting a list: name its elements .1, .2, …"
    )]
    #[case::not_numbered("InstanceId.one=i-1", "UnknownParameter: The parameter InstanceId.one is not recognized")]
    #[case::dry_run("DryRun=true", "DryRunOperation: Request would have succeeded, but DryRun flag is set.")]
    #[case::dry_maybe(
        "DryRun=maybe",
        "InvalidParameterValue: Value (maybe) for parameter DryRun is invalid. Expecting true or false."
    )]
    fn what_nobody_reads_is_refused(#[case] body: &str, #[case] refusal: &str) {
        let mut params = parse(body);
        let outcome = params.texts("InstanceId").and_then(|_| params.finish());
        assert_eq!(outcome.unwrap_err().to_string(), refusal);
    }

    #[rstest]
    #[case::twice("A=1&A=2", "InvalidParameterCombination")]
    #[case::too_deep("a.b.c.d.e.f.g.h.i.j.k.l.m=1", "UnknownParameter")]
    fn what_cannot_be_a_tree_is_refused(#[case] body: &str, #[case] code: &str) {
        assert_eq!(Params::parse(body.as_bytes()).unwrap_err().code, code);
    }
}
