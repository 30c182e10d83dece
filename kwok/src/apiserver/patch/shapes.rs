//! How the fields of a kind are owned: as a whole, member by member, or element by element
//! (`sigs.k8s.io/structured-merge-diff/schema`).

use crate::apiserver::value::{Members, text, texts};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, sync::LazyLock};

/// Shapes of the built-in kinds, made by `e2e/control-plane/cmd/field-shapes` from Kubernetes' OpenAPI documents.
static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    let table: Table = serde_json::from_str(include_str!("field-shapes.json")).expect("the file is well-formed");
    Builtin::new(&table)
});

/// The place of a shape among all.
pub(crate) type ShapeId = usize;

const LEAF: ShapeId = 0;
const DEDUCED: ShapeId = 1;
/// `metadata`, in the shapes of a custom resource.
const METADATA: ShapeId = 2;

/// How a value is owned.
#[derive(Clone, Debug)]
enum Shape {
    /// As a whole.
    Leaf,
    /// By what it is: objects member by member, everything else as a whole.
    Deduced,
    /// By its fields; members that are no fields (all of a map's) have the other shape.
    Fields { fields: BTreeMap<String, Field>, others: Option<ShapeId> },
    /// Every plain value by itself.
    Set,
    /// Elements that are told apart by these keys, of which some have a default.
    Elements { element: ShapeId, keys: Vec<(String, Option<Value>)> },
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) shape: ShapeId,
    /// Go's objects have it always, if only as its zero value: then nobody adds it.
    pub(super) always: bool,
    /// Whether it is a field of the kind, not a key of a map.
    pub(super) is_named: bool,
}

/// What a value turns out to be, by its shape and itself.
pub(super) enum Structure<'a> {
    Leaf,
    Members(&'a Members),
    Set(&'a [Value]),
    Elements(&'a [Value]),
}

/// The shapes of all that a kind, or all kinds, consist of.
#[derive(Clone, Debug)]
pub(crate) struct Shapes {
    all: Vec<Shape>,
}

/// A kind's shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owned<'a> {
    pub(super) shapes: &'a Shapes,
    pub(super) root: ShapeId,
    /// Whether objects that nobody has written have their zero values.
    pub(super) has_zero: bool,
}

/// The shape of a built-in kind; of one that is not in the table by what its objects are.
pub(crate) fn builtin(api_version: &str, kind: &str) -> Owned<'static> {
    let root = BUILTIN.kinds.get(&format!("{api_version}/{kind}")).copied().unwrap_or(DEDUCED);
    Owned { shapes: &BUILTIN.shapes, root, has_zero: true }
}

impl Shapes {
    /// The shapes of a custom resource.
    pub(crate) fn of_schema(schema: &Value) -> (Self, ShapeId) {
        let mut shapes = Self::new();
        shapes.add_metadata();
        let root = shapes.read(schema);
        if let Shape::Fields { fields, .. } = &mut shapes.all[root] {
            fields.insert("metadata".into(), Field { shape: METADATA, always: false, is_named: true });
        }
        (shapes, root)
    }

    fn new() -> Self {
        Self { all: vec![Shape::Leaf, Shape::Deduced] }
    }

    fn push(&mut self, shape: Shape) -> ShapeId {
        self.all.push(shape);
        self.all.len() - 1
    }

    /// `metadata` is owned alike in all kinds.
    fn add_metadata(&mut self) {
        let here = self.push(Shape::Leaf);
        debug_assert_eq!(here, METADATA);
        let map = self.push(Shape::Fields { fields: BTreeMap::new(), others: Some(LEAF) });
        let set = self.push(Shape::Set);
        let owners = self.push(Shape::Elements { element: LEAF, keys: vec![("uid".into(), None)] });
        let fields = [("labels", map), ("annotations", map), ("finalizers", set), ("ownerReferences", owners)];
        let field = |(name, shape): (&str, ShapeId)| (name.to_owned(), Field { shape, always: false, is_named: true });
        self.all[here] = Shape::Fields { fields: fields.map(field).into(), others: None };
    }

    fn read(&mut self, schema: &Value) -> ShapeId {
        let is = |key: &str| schema.get(key).and_then(Value::as_bool).unwrap_or(false);
        match (text(schema, &["type"]), text(schema, &["x-kubernetes-list-type"])) {
            _ if is("x-kubernetes-int-or-string") => LEAF,
            (Some("array"), Some("set")) => self.push(Shape::Set),
            (Some("array"), Some("map")) => {
                let element = schema.get("items").unwrap_or(&Value::Null);
                let default = |key: &str| element.pointer(&format!("/properties/{key}/default")).cloned();
                let keys = texts(schema, &["x-kubernetes-list-map-keys"]).map(|key| (key.to_owned(), default(key)));
                let (keys, element) = (keys.collect(), self.read(element));
                self.push(Shape::Elements { element, keys })
            }
            (Some("object") | None, _) if text(schema, &["x-kubernetes-map-type"]) != Some("atomic") => {
                self.read_object(schema, is("x-kubernetes-preserve-unknown-fields"))
            }
            _ => LEAF,
        }
    }

    fn read_object(&mut self, schema: &Value, preserve: bool) -> ShapeId {
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut fields = BTreeMap::new();
        for (name, property) in properties.into_iter().flatten() {
            fields.insert(name.clone(), Field { shape: self.read(property), always: false, is_named: true });
        }
        let others = match schema.get("additionalProperties") {
            Some(Value::Object(_)) => Some(self.read(&schema["additionalProperties"])),
            Some(Value::Bool(true)) => Some(DEDUCED),
            _ if preserve || fields.is_empty() => Some(DEDUCED),
            _ => None,
        };
        self.push(Shape::Fields { fields, others })
    }

    /// The field of an object of this shape.
    pub(super) fn field(&self, shape: ShapeId, name: &str) -> Field {
        match &self.all[shape] {
            Shape::Fields { fields, others } => match (fields.get(name), others) {
                (Some(field), _) => *field,
                (None, Some(others)) => Field { shape: *others, always: false, is_named: false },
                (None, None) => Field { shape: LEAF, always: false, is_named: true },
            },
            Shape::Deduced => Field { shape: DEDUCED, always: false, is_named: false },
            Shape::Leaf | Shape::Set | Shape::Elements { .. } => Field { shape: LEAF, always: false, is_named: true },
        }
    }

    /// The shape of a list's elements.
    pub(super) fn element(&self, shape: ShapeId) -> ShapeId {
        match &self.all[shape] {
            Shape::Elements { element, .. } => *element,
            Shape::Leaf | Shape::Deduced | Shape::Fields { .. } | Shape::Set => LEAF,
        }
    }

    /// What a value of this shape is.
    pub(super) fn structure<'a>(&self, shape: ShapeId, value: &'a Value) -> Structure<'a> {
        match (&self.all[shape], value) {
            (Shape::Fields { .. } | Shape::Deduced, Value::Object(members)) => Structure::Members(members),
            (Shape::Set, Value::Array(elements)) => Structure::Set(elements),
            (Shape::Elements { .. }, Value::Array(elements)) => Structure::Elements(elements),
            _ => Structure::Leaf,
        }
    }

    /// The path element of a list's element: `k:{"name":"web"}`, or `v:"x"` in a set.
    pub(super) fn path_element(&self, shape: ShapeId, element: &Value) -> String {
        let Shape::Elements { keys, .. } = &self.all[shape] else { return format!("v:{element}") };
        let value = |key: &str, default: &Option<Value>| element.get(key).cloned().or_else(|| default.clone());
        let key: BTreeMap<&str, Value> =
            keys.iter().filter_map(|(key, default)| Some((key.as_str(), value(key, default)?))).collect();
        format!("k:{}", serde_json::json!(key))
    }

    /// The first key that an element of a list lacks altogether.
    pub(super) fn has_no_key(&self, shape: ShapeId, element: &Value) -> bool {
        match &self.all[shape] {
            Shape::Elements { keys, .. } => {
                keys.iter().all(|(key, default)| element.get(key).is_none() && default.is_none())
            }
            Shape::Leaf | Shape::Deduced | Shape::Fields { .. } | Shape::Set => false,
        }
    }
}

/// The table as it is written: see the program that makes it.
#[derive(Deserialize)]
struct Table {
    kinds: BTreeMap<String, String>,
    types: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

struct Builtin {
    shapes: Shapes,
    kinds: BTreeMap<String, ShapeId>,
}

impl Builtin {
    fn new(table: &Table) -> Self {
        let mut shapes = Shapes::new();
        let names: BTreeMap<&str, ShapeId> =
            table.types.keys().map(|name| (name.as_str(), shapes.push(Shape::Leaf))).collect();
        for (name, fields) in &table.types {
            let mut read = BTreeMap::new();
            for (field, shape) in fields {
                let (kind, arguments) =
                    shape.split_first().map_or(("", [].as_slice()), |(kind, rest)| (kind.as_str(), rest));
                let always = kind.ends_with('!');
                let shape = shape_of(&mut shapes, &names, kind.trim_end_matches('!'), arguments);
                read.insert(field.clone(), Field { shape, always, is_named: true });
            }
            shapes.all[names[name.as_str()]] = Shape::Fields { fields: read, others: None };
        }
        let kinds = table.kinds.iter().map(|(kind, name)| (kind.clone(), names[name.as_str()])).collect();
        Self { shapes, kinds }
    }
}

fn shape_of(shapes: &mut Shapes, names: &BTreeMap<&str, ShapeId>, kind: &str, arguments: &[String]) -> ShapeId {
    let named = |name: Option<&String>| name.and_then(|name| names.get(name.as_str())).copied().unwrap_or(LEAF);
    match kind {
        "t" => named(arguments.first()),
        "m" => shapes.push(Shape::Fields { fields: BTreeMap::new(), others: Some(named(arguments.first())) }),
        "s" => shapes.push(Shape::Set),
        "k" => {
            // The one key with a default.
            let default = |key: &str| (key == "protocol").then(|| "TCP".into());
            let keys = arguments.iter().skip(1).map(|key| (key.clone(), default(key))).collect();
            shapes.push(Shape::Elements { element: named(arguments.first()), keys })
        }
        _ => LEAF,
    }
}

#[cfg(test)]
mod tests {
    use super::{Shapes, builtin};
    use serde_json::json;

    #[test]
    fn containers_are_told_apart_by_name() {
        let owned = builtin("v1", "Pod");
        let spec = owned.shapes.field(owned.root, "spec");
        assert!(spec.always);
        let containers = owned.shapes.field(spec.shape, "containers").shape;
        assert_eq!(owned.shapes.path_element(containers, &json!({"name": "web"})), r#"k:{"name":"web"}"#);
        let ports = owned.shapes.field(owned.shapes.element(containers), "ports").shape;
        assert_eq!(
            owned.shapes.path_element(ports, &json!({"containerPort": 80})),
            r#"k:{"containerPort":80,"protocol":"TCP"}"#
        );
    }

    #[test]
    fn schemas_say_how_lists_are_owned() {
        let schema =
            json!({"type": "object", "properties": {"tags": {"type": "array", "x-kubernetes-list-type": "set"}}});
        let (shapes, root) = Shapes::of_schema(&schema);
        let tags = shapes.field(root, "tags").shape;
        assert_eq!(shapes.path_element(tags, &json!("x")), r#"v:"x""#);
    }
}
