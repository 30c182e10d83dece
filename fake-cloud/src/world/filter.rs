//! Filters: a name and values with wildcards, AND between filters, OR between values.

use super::{CloudError, Tags};
use std::borrow::Cow;

/// One filter of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// A field's name, `tag:KEY` or `tag-key`.
    pub name: String,
    /// Any of these; `*` stands for any text, `?` for one character, `\` takes the next character as it is.
    pub values: Vec<String>,
}

/// A thing that filters can look at.
pub trait Filterable {
    /// The names of the fields that [`Filterable::values`] knows, without the tag filters.
    const NAMES: &'static [&'static str];

    /// The field's values (several for a list), texts as the vendor writes them.
    fn values(&self, name: &str) -> Vec<Cow<'_, str>>;

    /// The tags; `None` for things that have none, for which tag filters do not exist.
    fn tags(&self) -> Option<&Tags> {
        None
    }
}

/// Checks that every filter is one that `T` knows.
///
/// # Errors
/// [`CloudError::UnknownFilter`] names the first that is not.
pub fn check_filters<T: Filterable>(filters: &[Filter], tagged: bool) -> Result<(), CloudError> {
    let known = |name: &str| {
        T::NAMES.contains(&name) || (tagged && (name == "tag-key" || name == "tag-value" || name.starts_with("tag:")))
    };
    match filters.iter().find(|filter| !known(&filter.name)) {
        None => Ok(()),
        Some(filter) => Err(CloudError::UnknownFilter { name: filter.name.clone() }),
    }
}

/// Whether the thing passes all filters; an unknown name passes nothing (see [`check_filters`]).
pub fn passes<T: Filterable>(thing: &T, filters: &[Filter]) -> bool {
    filters.iter().all(|filter| passes_one(thing, filter))
}

fn passes_one<T: Filterable>(thing: &T, filter: &Filter) -> bool {
    let any = |value: &str| filter.values.iter().any(|pattern| matches_pattern(pattern, value));
    let tags = || thing.tags().into_iter().flat_map(Tags::iter);
    if let Some(key) = filter.name.strip_prefix("tag:") {
        return tags().any(|(tag, value)| tag == key && any(value));
    }
    match filter.name.as_str() {
        "tag-key" => tags().any(|(key, _)| any(key)),
        "tag-value" => tags().any(|(_, value)| any(value)),
        name => thing.values(name).iter().any(|value| any(value)),
    }
}

/// Whether `text` matches `pattern` as a whole.
///
/// ```
/// # use sawhorse_fake_cloud::world::matches_pattern;
/// assert!(matches_pattern("m5.*", "m5.large"));
/// assert!(matches_pattern("us-west-2?", "us-west-2a"));
/// assert!(!matches_pattern("m5", "m5.large"));
/// assert!(matches_pattern(r"a\*", "a*"));
/// assert!(!matches_pattern(r"a\*", "ab"));
/// ```
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?', '\\']) {
        return pattern == text;
    }
    let pattern = tokens(pattern);
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Token::Any) => {
                star = Some((p, t));
                p += 1;
            }
            Some(token) if token.takes(text[t]) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                // The last `*` takes one character more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|token| *token == Token::Any)
}

#[derive(Clone, Copy, PartialEq)]
enum Token {
    Any,
    One,
    Literal(char),
}

impl Token {
    fn takes(self, character: char) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Literal(literal) => literal == character,
        }
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => Token::Literal(characters.next().unwrap_or('\\')),
            other => Token::Literal(other),
        });
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;
    use rstest::rstest;

    #[rstest]
    #[case("*", "", true)]
    #[case("*a*b", "xxaxxb", true)]
    #[case("*a*b", "xxaxxbc", false)]
    #[case("?", "", false)]
    #[case("a**", "a", true)]
    #[case("", "", true)]
    #[case("", "a", false)]
    #[case("A", "a", false)]
    fn wildcards(#[case] pattern: &str, #[case] text: &str, #[case] expected: bool) {
        assert_eq!(matches_pattern(pattern, text), expected);
    }
}
