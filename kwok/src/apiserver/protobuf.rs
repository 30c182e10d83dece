//! Bodies in Kubernetes' protobuf, read into the JSON of the same object (API concepts: "Protobuf encoding"). Go clients send
//! built-in kinds so by default; answers are always JSON, which they accept too.

use super::value::Members;
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, sync::LazyLock};

/// How such a body is announced.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// Every body begins with it.
const MAGIC: &[u8] = b"k8s\0";
/// Messages within messages: more than any kind has, and few enough for any stack.
const MAX_DEPTH: usize = 64;

/// Why a body cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Not what it is announced as.
    #[error("the body is no Kubernetes protobuf: {0}")]
    Malformed(&'static str),
    /// Custom resources have no protobuf.
    #[error("`{0}` cannot be read from protobuf")]
    Kind(String),
}

/// Fields of the built-in kinds, made by `e2e/control-plane/cmd/protobuf-fields` from the Go types of Kubernetes.
static FIELDS: LazyLock<Fields> =
    LazyLock::new(|| serde_json::from_str(include_str!("protobuf-fields.json")).expect("the file is well-formed"));

#[derive(Deserialize)]
struct Fields {
    /// From `apiVersion/kind` to the name of a type.
    kinds: BTreeMap<String, String>,
    types: BTreeMap<String, Vec<Field>>,
}

/// Number, name in JSON, kind and flags.
#[derive(Deserialize)]
struct Field(u64, String, String, String);

/// One field on the wire.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Reads an object with its `apiVersion` and `kind`.
pub(crate) fn read(body: &[u8]) -> Result<Value, Unreadable> {
    let envelope = body.strip_prefix(MAGIC).ok_or(Unreadable::Malformed("it does not begin with its magic number"))?;
    let (mut types, mut raw) = (Members::new(), &[][..]);
    for field in wire(envelope) {
        match field? {
            (1, Wire::Bytes(bytes)) => {
                for field in wire(bytes) {
                    match field? {
                        (1, Wire::Bytes(text)) => types.insert("apiVersion".to_owned(), text_of(text)?),
                        (2, Wire::Bytes(text)) => types.insert("kind".to_owned(), text_of(text)?),
                        _ => None,
                    };
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let text = |name: &str| types.get(name).and_then(Value::as_str).unwrap_or_default();
    let kind = format!("{}/{}", text("apiVersion"), text("kind"));
    let name = FIELDS.kinds.get(&kind).ok_or(Unreadable::Kind(kind))?;
    types.extend(message(name, raw, 0)?);
    Ok(Value::Object(types))
}

fn message(name: &str, bytes: &[u8], depth: usize) -> Result<Members, Unreadable> {
    if depth > MAX_DEPTH {
        return Err(Unreadable::Malformed("it is nested too deeply"));
    }
    let fields = FIELDS.types.get(name).ok_or_else(|| Unreadable::Kind(name.to_owned()))?;
    let mut members = Members::new();
    for found in wire(bytes) {
        let (number, found) = found?;
        // Fields of a later version are nothing to us.
        let Some(Field(_, name, kind, flags)) = fields.iter().find(|field| field.0 == number) else { continue };
        if flags.contains('i') {
            members.extend(message(kind, of_length(found)?, depth + 1)?);
        } else if flags.contains('l') {
            let item = value(kind, found, depth)?;
            push(&mut members, name, item);
        } else if let Some(kind) = kind.strip_prefix("map ") {
            let (key, item) = entry(kind, of_length(found)?, depth)?;
            let map = members.entry(name).or_insert_with(|| Value::Object(Members::new()));
            map.as_object_mut().map(|map| map.insert(key, item));
        } else {
            let value = value(kind, found, depth)?;
            if !flags.contains('z') || !is_zero(&value) {
                members.insert(name.clone(), value);
            }
        }
    }
    Ok(members)
}

fn push(members: &mut Members, name: &str, item: Value) {
    if let Value::Array(items) = members.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
        items.push(item);
    }
}

fn entry(kind: &str, bytes: &[u8], depth: usize) -> Result<(String, Value), Unreadable> {
    // A field that is not there is zero.
    let (mut key, mut item) = (String::new(), Wire::Bytes(&[]));
    for field in wire(bytes) {
        match field? {
            (1, Wire::Bytes(text)) => key = utf8(text)?.to_owned(),
            (2, found) => item = found,
            _ => {}
        }
    }
    Ok((key, value(kind, item, depth)?))
}

fn value(kind: &str, found: Wire<'_>, depth: usize) -> Result<Value, Unreadable> {
    Ok(match kind {
        "bool" => Value::Bool(number(found)? != 0),
        "int" => Value::from(number(found)? as i64),
        "float" => Value::from(f64::from_bits(number(found)?)),
        "string" => text_of(of_length(found)?)?,
        "bytes" => Value::from(BASE64_STANDARD.encode(of_length(found)?)),
        "quantity" => part(of_length(found)?, 1)?.map_or(Ok(Value::from("0")), |text| text_of(of_length(text)?))?,
        "int-or-string" => int_or_string(of_length(found)?)?,
        "time" => time(of_length(found)?, |at| format!("{at:.0}"))?,
        "micro-time" => time(of_length(found)?, |at| format!("{at:.6}"))?,
        "duration" => {
            let nanos = part(of_length(found)?, 1)?.map_or(Ok(0), number)?;
            Value::from(format!("{}ns", nanos as i64))
        }
        "raw" => match part(of_length(found)?, 1)? {
            Some(json) => serde_json::from_slice(of_length(json)?)
                .map_err(|_| Unreadable::Malformed("what it embeds is no JSON"))?,
            None => Value::Null,
        },
        _ => match kind.strip_prefix("items ") {
            Some(kind) => {
                let items = wire(of_length(found)?).map(|item| value(kind, item?.1, depth + 1));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            None => Value::Object(message(kind, of_length(found)?, depth + 1)?),
        },
    })
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(bool) => !bool,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        // As Go writes structs.
        Value::Object(_) => false,
    }
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Unreadable> {
    let is_text = part(bytes, 1)?.map_or(Ok(0), number)? == 1;
    if is_text {
        part(bytes, 3)?.map_or(Ok(Value::from("")), |text| text_of(of_length(text)?))
    } else {
        Ok(Value::from(part(bytes, 2)?.map_or(Ok(0), number)? as i64))
    }
}

/// No time at all is written as an empty message.
fn time(bytes: &[u8], show: impl Fn(Timestamp) -> String) -> Result<Value, Unreadable> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let seconds = part(bytes, 1)?.map_or(Ok(0), number)? as i64;
    let nanos = part(bytes, 2)?.map_or(Ok(0), number)? as i32;
    let at = Timestamp::new(seconds, nanos).map_err(|_| Unreadable::Malformed("a time is out of range"))?;
    Ok(Value::from(show(at)))
}

/// The last field of that number.
fn part(bytes: &[u8], wanted: u64) -> Result<Option<Wire<'_>>, Unreadable> {
    let mut last = None;
    for field in wire(bytes) {
        let (number, found) = field?;
        if number == wanted {
            last = Some(found);
        }
    }
    Ok(last)
}

fn number(found: Wire<'_>) -> Result<u64, Unreadable> {
    match found {
        Wire::Number(number) => Ok(number),
        // The value of a map's entry that is not there.
        Wire::Bytes([]) => Ok(0),
        Wire::Bytes(_) => Err(Unreadable::Malformed("a number is written as bytes")),
    }
}

fn of_length(found: Wire<'_>) -> Result<&[u8], Unreadable> {
    match found {
        Wire::Bytes(bytes) => Ok(bytes),
        Wire::Number(_) => Err(Unreadable::Malformed("a message or text is written as a number")),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| Unreadable::Malformed("a text is no UTF-8"))
}

fn text_of(bytes: &[u8]) -> Result<Value, Unreadable> {
    utf8(bytes).map(Value::from)
}

/// The fields of a message in the order in which they are written.
fn wire(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u64, Wire<'_>), Unreadable>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let field = next_field(&mut bytes);
        if field.is_err() {
            bytes = &[];
        }
        Some(field)
    })
}

fn next_field<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Wire<'a>), Unreadable> {
    let tag = varint(bytes)?;
    let found = match tag & 7 {
        0 => Wire::Number(varint(bytes)?),
        1 => Wire::Number(u64::from_le_bytes(fixed(bytes)?)),
        2 => {
            let length = usize::try_from(varint(bytes)?).map_err(|_| Unreadable::Malformed("a length is too large"))?;
            let (found, rest) = bytes.split_at_checked(length).ok_or(Unreadable::Malformed("it ends too early"))?;
            *bytes = rest;
            Wire::Bytes(found)
        }
        5 => Wire::Number(u32::from_le_bytes(fixed(bytes)?).into()),
        _ => return Err(Unreadable::Malformed("a wire type is unknown")),
    };
    Ok((tag >> 3, found))
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Unreadable> {
    let (found, rest) = bytes.split_first_chunk::<N>().ok_or(Unreadable::Malformed("it ends too early"))?;
    *bytes = rest;
    Ok(*found)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Unreadable::Malformed("it ends too early"))?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Unreadable::Malformed("a number is too long"))
}

#[cfg(test)]
mod tests {
    use super::{Unreadable, read};
    use base64::{Engine, prelude::BASE64_STANDARD};
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::Value;

    /// What Kubernetes itself makes of `testdata/protobuf.yaml` (`e2e/control-plane/cmd/protobuf-fields FILE`).
    fn samples() -> Vec<(Vec<u8>, Value)> {
        let samples: Vec<Value> = serde_json::from_str(include_str!("testdata/protobuf.json")).unwrap();
        let sample = |value: &Value| {
            (BASE64_STANDARD.decode(value["protobuf"].as_str().unwrap()).unwrap(), value["object"].clone())
        };
        samples.iter().map(sample).collect()
    }

    /// Nulls in JSON are fields that are not there.
    fn without_nulls(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields = fields.iter().filter(|(_, field)| !field.is_null());
                fields.map(|(name, field)| (name.clone(), without_nulls(field))).collect()
            }
            Value::Array(items) => items.iter().map(without_nulls).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }

    #[test]
    fn protobuf_and_json_are_the_same_object() {
        let samples = samples();
        assert!(samples.len() >= 10);
        for (body, object) in samples {
            assert_eq!(without_nulls(&read(&body).unwrap()), without_nulls(&object), "{}", object["kind"]);
        }
    }

    #[rstest]
    #[case::no_magic(b"{}".to_vec(), "does not begin")]
    #[case::cut(samples()[0].0[..100].to_vec(), "ends too early")]
    #[case::a_custom_resource(b"k8s\0\x0a\x0d\x0a\x01a\x12\x08NodePool".to_vec(), "`a/NodePool`")]
    fn what_cannot_be_read_is_said(#[case] body: Vec<u8>, #[case] wanted: &str) {
        let said = read(&body).unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
    }

    proptest! {
        #[test]
        fn damaged_bodies_are_refused_or_read_but_never_break_anything(at in 0_usize..4096, byte: u8, sample in 0_usize..10) {
            let (mut body, _) = samples().swap_remove(sample);
            let at = at % body.len();
            body[at] = byte;
            if let Err(Unreadable::Malformed(why)) = read(&body) {
                prop_assert!(!why.is_empty());
            }
        }
    }
}
