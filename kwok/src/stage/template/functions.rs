//! The part of sprig that stages use; none of it depends on anything but its arguments.

use super::{
    dates::format_date,
    kwok::{argument, integer, string, text},
    yaml::to_json,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use gotmpl::{FuncMap, Result, TemplateError, ToSerdeValue, Value};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc};

type Function = fn(&[Value]) -> Result<Value>;

/// The longest text that `repeat`, `indent` and `nindent` make: more than any object may be (1.5 MiB in etcd).
const MAX_TEXT: usize = 2 << 20;

/// The longest list that `until` makes.
const MAX_LIST: i64 = 100_000;

/// The functions by name.
pub(super) fn all() -> FuncMap {
    let groups: [&[(&str, Function)]; 4] = [&DATA, &TEXT, &NUMBERS, &ENCODINGS];
    groups
        .iter()
        .flat_map(|group| group.iter())
        .map(|(name, function)| ((*name).to_owned(), Arc::new(*function) as _))
        .collect()
}

const DATA: [(&str, Function); 15] = [
    ("default", |args| Ok(if argument("default", args, 1)?.is_truthy() { args[1].clone() } else { args[0].clone() })),
    ("empty", |args| Ok(Value::Bool(!argument("empty", args, 0)?.is_truthy()))),
    ("coalesce", |args| Ok(args.iter().find(|value| value.is_truthy()).cloned().unwrap_or(Value::Nil))),
    ("ternary", |args| Ok(if argument("ternary", args, 2)?.is_truthy() { args[0].clone() } else { args[1].clone() })),
    ("dict", dict),
    ("get", |args| Ok(argument("get", args, 0)?.field(&string("get", args, 1)?).cloned().unwrap_or(text("")))),
    ("hasKey", |args| Ok(Value::Bool(argument("hasKey", args, 0)?.field(&string("hasKey", args, 1)?).is_some()))),
    ("keys", |args| Ok(entries("keys", args)?.into_iter().map(|(key, _)| text(key)).collect::<List>().into())),
    ("values", |args| Ok(entries("values", args)?.into_iter().map(|(_, value)| value).collect::<List>().into())),
    ("list", |args| Ok(Value::List(args.into()))),
    ("first", |args| Ok(items("first", args)?.first().cloned().unwrap_or(Value::Nil))),
    ("last", |args| Ok(items("last", args)?.last().cloned().unwrap_or(Value::Nil))),
    ("has", |args| Ok(Value::Bool(items("has", &args[1.min(args.len())..])?.contains(&args[0])))),
    ("append", |args| {
        let mut all = items("append", args)?.to_vec();
        all.push(argument("append", args, 1)?.clone());
        Ok(Value::List(all.into()))
    }),
    ("until", |args| Ok((0..integer("until", args, 0)?.clamp(0, MAX_LIST)).map(Value::Int).collect::<List>().into())),
];

const TEXT: [(&str, Function); 21] = [
    ("quote", |args| joined(args, |value| Json::from(value).to_string())),
    ("squote", |args| joined(args, |value| format!("'{value}'"))),
    ("upper", |args| Ok(text(string("upper", args, 0)?.to_uppercase()))),
    ("lower", |args| Ok(text(string("lower", args, 0)?.to_lowercase()))),
    ("trim", |args| Ok(text(string("trim", args, 0)?.trim()))),
    ("trimSuffix", |args| {
        let (suffix, whole) = (string("trimSuffix", args, 0)?, string("trimSuffix", args, 1)?);
        Ok(text(whole.strip_suffix(&suffix).unwrap_or(&whole)))
    }),
    ("trimPrefix", |args| {
        let (prefix, whole) = (string("trimPrefix", args, 0)?, string("trimPrefix", args, 1)?);
        Ok(text(whole.strip_prefix(&prefix).unwrap_or(&whole)))
    }),
    ("trunc", trunc),
    ("replace", |args| {
        let (old, new) = (string("replace", args, 0)?, string("replace", args, 1)?);
        Ok(text(string("replace", args, 2)?.replace(&old, &new)))
    }),
    ("contains", |args| Ok(Value::Bool(string("contains", args, 1)?.contains(&string("contains", args, 0)?)))),
    ("hasPrefix", |args| Ok(Value::Bool(string("hasPrefix", args, 1)?.starts_with(&string("hasPrefix", args, 0)?)))),
    ("hasSuffix", |args| Ok(Value::Bool(string("hasSuffix", args, 1)?.ends_with(&string("hasSuffix", args, 0)?)))),
    ("join", |args| {
        let separator = string("join", args, 0)?;
        let parts: Vec<String> = items("join", &args[1.min(args.len())..])?.iter().map(Value::to_string).collect();
        Ok(text(parts.join(&separator)))
    }),
    ("splitList", |args| {
        let (separator, whole) = (string("splitList", args, 0)?, string("splitList", args, 1)?);
        Ok(whole.split(&separator).map(text).collect::<List>().into())
    }),
    ("repeat", |args| {
        let (count, part) = (integer("repeat", args, 0)?, string("repeat", args, 1)?);
        let most = MAX_TEXT / part.len().max(1);
        Ok(text(part.repeat(usize::try_from(count).unwrap_or(0).min(most))))
    }),
    ("indent", |args| Ok(text(indented("indent", args)?))),
    ("nindent", |args| Ok(text(format!("\n{}", indented("nindent", args)?)))),
    ("toString", |args| Ok(text(argument("toString", args, 0)?.to_string()))),
    ("date", |args| {
        let (layout, at) = (string("date", args, 0)?, string("date", args, 1)?);
        let at = at.parse().map_err(|_| TemplateError::Exec(format!("`date` needs a time, found `{at}`")))?;
        Ok(text(format_date(&layout, at)))
    }),
    ("nospace", |args| Ok(text(string("nospace", args, 0)?.split_whitespace().collect::<String>()))),
    ("cat", |args| Ok(text(args.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")))),
];

const NUMBERS: [(&str, Function); 13] = [
    ("int", |args| Ok(Value::Int(integer("int", args, 0)?))),
    ("int64", |args| Ok(Value::Int(integer("int64", args, 0)?))),
    ("atoi", |args| Ok(Value::Int(integer("atoi", args, 0)?))),
    ("add", |args| fold("add", args, i64::checked_add)),
    ("add1", |args| Ok(Value::Int(integer("add1", args, 0)?.saturating_add(1)))),
    ("sub", |args| fold("sub", args, i64::checked_sub)),
    ("mul", |args| fold("mul", args, i64::checked_mul)),
    ("div", |args| fold("div", args, i64::checked_div)),
    ("mod", |args| fold("mod", args, i64::checked_rem)),
    ("max", |args| fold("max", args, |a, b| Some(a.max(b)))),
    ("min", |args| fold("min", args, |a, b| Some(a.min(b)))),
    ("floor", |args| number("floor", args, f64::floor)),
    ("ceil", |args| number("ceil", args, f64::ceil)),
];

const ENCODINGS: [(&str, Function); 7] = [
    ("toJson", |args| Ok(text(to_json(argument("toJson", args, 0)?).to_string()))),
    ("mustToJson", |args| Ok(text(to_json(argument("mustToJson", args, 0)?).to_string()))),
    ("fromJson", |args| from_json("fromJson", args)),
    ("mustFromJson", |args| from_json("mustFromJson", args)),
    ("b64enc", |args| Ok(text(STANDARD.encode(string("b64enc", args, 0)?)))),
    ("b64dec", |args| {
        let bytes = STANDARD.decode(string("b64dec", args, 0)?);
        let bytes = bytes.map_err(|error| TemplateError::Exec(format!("`b64dec`: {error}")))?;
        Ok(text(String::from_utf8_lossy(&bytes).into_owned()))
    }),
    ("sha256sum", |args| {
        let digest = Sha256::digest(string("sha256sum", args, 0)?);
        Ok(text(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
    }),
];

/// A list under way.
struct List(Vec<Value>);

impl FromIterator<Value> for List {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl From<List> for Value {
    fn from(list: List) -> Self {
        Self::List(list.0.into())
    }
}

fn dict(args: &[Value]) -> Result<Value> {
    let pairs = args.chunks(2).map(|pair| {
        let value = pair.get(1).cloned().unwrap_or_else(|| text(""));
        (Arc::from(pair[0].to_string()), value)
    });
    Ok(Value::Map(Arc::new(pairs.collect::<BTreeMap<_, _>>())))
}

fn items<'a>(name: &str, args: &'a [Value]) -> Result<&'a [Value]> {
    match argument(name, args, 0)? {
        Value::List(items) => Ok(items),
        Value::Nil => Ok(&[]),
        other => Err(TemplateError::Exec(format!("`{name}` needs a list, found {}", other.type_name()))),
    }
}

fn entries(name: &str, args: &[Value]) -> Result<Vec<(Arc<str>, Value)>> {
    match argument(name, args, 0)? {
        Value::Map(fields) => Ok(fields.iter().map(|(key, value)| (Arc::clone(key), value.clone())).collect()),
        Value::Nil => Ok(Vec::new()),
        other => Err(TemplateError::Exec(format!("`{name}` needs a dict, found {}", other.type_name()))),
    }
}

fn joined(args: &[Value], write: impl Fn(String) -> String) -> Result<Value> {
    let parts: Vec<String> =
        args.iter().filter(|value| **value != Value::Nil).map(|value| write(value.to_string())).collect();
    Ok(text(parts.join(" ")))
}

/// The first characters; with a negative count, the last ones.
fn trunc(args: &[Value]) -> Result<Value> {
    let (count, whole) = (integer("trunc", args, 0)?, string("trunc", args, 1)?);
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let skipped = if count < 0 { whole.chars().count().saturating_sub(size) } else { 0 };
    Ok(text(whole.chars().skip(skipped).take(size).collect::<String>()))
}

fn indented(name: &str, args: &[Value]) -> Result<String> {
    let (spaces, whole) = (integer(name, args, 0)?, string(name, args, 1)?);
    let most = MAX_TEXT / (whole.lines().count() + 1);
    let pad = " ".repeat(usize::try_from(spaces).unwrap_or(0).min(most));
    Ok(format!("{pad}{}", whole.replace('\n', &format!("\n{pad}"))))
}

fn fold(name: &str, args: &[Value], combine: fn(i64, i64) -> Option<i64>) -> Result<Value> {
    let mut result = integer(name, args, 0)?;
    for index in 1..args.len() {
        let failed = || TemplateError::Exec(format!("`{name}` has no result for these numbers"));
        result = combine(result, integer(name, args, index)?).ok_or_else(failed)?;
    }
    Ok(Value::Int(result))
}

fn number(name: &str, args: &[Value], function: fn(f64) -> f64) -> Result<Value> {
    let value = argument(name, args, 0)?;
    let parsed = value.as_float().or_else(|| value.to_string().parse().ok());
    let parsed =
        parsed.ok_or_else(|| TemplateError::Exec(format!("`{name}` needs a number, found {}", value.type_name())))?;
    Ok(Value::Float(function(parsed)))
}

fn from_json(name: &str, args: &[Value]) -> Result<Value> {
    let parsed: Json = serde_json::from_str(&string(name, args, 0)?)
        .map_err(|error| TemplateError::Exec(format!("`{name}` needs JSON: {error}")))?;
    parsed.to_serde_value()
}

#[cfg(test)]
mod tests {
    use super::super::Renderer;
    use crate::stage::template::tests::facts;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("{{ default \"x\" .none }}{{ default \"x\" .name }}", "xweb")]
    #[case(
        "{{ ternary 1 2 true }}{{ 1 | add 2 3 }}{{ sub 5 2 }}{{ mul 2 3 }}{{ div 7 2 }}{{ mod 7 4 }}{{ add1 .count }}",
        "1636334"
    )]
    #[case("{{ range $k, $v := dict \"a\" 1 \"b\" 2 }}{{ $k }}{{ $v }}{{ end }}", "a1b2")]
    #[case(
        "{{ join \",\" (list 1 \"b\") }} {{ upper .name }} {{ trunc 2 .name }} {{ trunc -2 .name }}",
        "1,b WEB we eb"
    )]
    #[case(
        "{{ replace \"e\" \"o\" .name }} {{ contains \"e\" .name }} {{ hasPrefix \"we\" .name }} {{ trim \" a \" }}",
        "wob true true a"
    )]
    #[case("{{ toJson .list }} {{ (fromJson \"{\\\"a\\\":[1,2]}\").a }} {{ quote .name }}", "[1,2] [1 2] \"web\"")]
    #[case("{{ b64enc .name }} {{ b64dec \"d2Vi\" }} {{ sha256sum \"\" | trunc 8 }}", "d2Vi web e3b0c442")]
    #[case(
        "{{ now | date \"2006-01-02\" }} {{ until 3 }} {{ int \"12\" }} {{ first .list }}{{ last .list }}",
        "2026-01-01 [0 1 2] 12 12"
    )]
    #[case("{{ Now }} {{ StartTime }} {{ Version }}", "2026-01-01T00:01:00Z 2026-01-01T00:00:00Z v0.8.0")]
    #[case("{{ .name | Quote }} {{ .count | Quote }} {{ .none | Quote }}", "\"web\" \"3\" \"null\"")]
    #[case("{{ with NodePort }}{{ . }}{{ end }} {{ NodeName }} {{ NodeIP }}", "10250 node-a ip-of-node-a")]
    #[case(
        "{{ PodIPWith \"n\" false \"u\" \"p\" \"ns\" }} {{ PodIPsWith \"n\" true \"u\" \"p\" \"ns\" }}",
        "ip-of-ns/p [ip-of-n]"
    )]
    #[case("a:{{ YAML .list 1 }}b:{{ YAML .map 2 }}", "a:\n  - 1\n  - 2\n  b:\n    \"x\": \"y\"\n    ")]
    fn functions(#[case] template: &str, #[case] expected: &str) {
        let object = json!({"name": "web", "count": 3, "list": [1, 2], "map": {"x": "y"}});
        assert_eq!(Renderer::compile(template).unwrap().text(&object, &facts()).unwrap(), expected);
    }

    #[test]
    fn random_functions_draw_from_the_stream() {
        let template = Renderer::compile("{{ randInt 0 1000000 }} {{ uuidv4 }}").unwrap();
        let draw = || template.text(&json!({}), &facts()).unwrap();
        assert_eq!(draw(), draw());
        assert_eq!(
            draw().split(' ').next().unwrap().parse::<u32>().unwrap().to_string(),
            draw().split(' ').next().unwrap()
        );
    }

    #[rstest]
    #[case("{{ genSignedCert }}", "`genSignedCert`")]
    #[case("{{ if true }}{{ range .x }}{{ (nope .y).z }}{{ end }}{{ end }}", "`nope`")]
    #[case("{{ define \"a\" }}{{ env \"HOME\" }}{{ end }}", "`env`")]
    #[case("{{ .x", "unclosed action")]
    fn what_is_unknown_is_named_when_compiled(#[case] template: &str, #[case] problem: &str) {
        let refused = Renderer::compile(template).err().unwrap();
        assert!(refused.contains(problem), "{refused}");
    }
}
