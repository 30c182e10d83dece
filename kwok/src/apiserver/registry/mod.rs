//! Which resources are served: the built-in ones and those of the CustomResourceDefinitions.
//!
//! - [`builtin`] — the table of built-in resources
//! - [`custom`] — definitions become resources
//! - `wrong_type` — what is said of fields of the wrong type

pub(crate) mod builtin;
pub(crate) mod custom;
mod wrong_type;

use super::{
    patch::shapes::{ShapeId, Shapes},
    schema::Schema,
    store::{GroupResource, lifecycle::Generation},
};
use builtin::{BUILTIN, BuiltinKind};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Where the replica counts of a scalable resource are, as JSON paths such as `.spec.replicas`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    pub(crate) spec_replicas: String,
    pub(crate) status_replicas: String,
    pub(crate) label_selector: Option<String>,
}

/// A column that `kubectl get` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrinterColumn {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) format: String,
    pub(crate) description: String,
    pub(crate) priority: i64,
    pub(crate) json_path: String,
}

/// What a CustomResourceDefinition says about one of its versions.
#[derive(Debug)]
pub(crate) struct CustomVersion {
    pub(crate) schema: Schema,
    /// How its objects' fields are owned.
    pub(crate) shapes: (Shapes, ShapeId),
    pub(crate) columns: Vec<PrinterColumn>,
    /// Fields that field selectors may name besides `metadata.name` and `metadata.namespace`.
    pub(crate) selectable_fields: Vec<String>,
}

/// Where a resource comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    BuiltIn(&'static BuiltinKind),
    Custom(Arc<CustomVersion>),
}

/// A resource as served in one version.
#[derive(Clone, Debug)]
pub(crate) struct ResourceType {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) status: bool,
    pub(crate) scale: Option<ScalePaths>,
    /// What its objects are stored under: differs where two groups show the same objects (events).
    pub(crate) storage: GroupResource,
    /// The `apiVersion` of the stored objects.
    pub(crate) storage_api_version: String,
    pub(crate) generation: Generation,
    pub(crate) origin: Origin,
}

impl ResourceType {
    /// `apiVersion` as its objects show it.
    pub(crate) fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// Group and plural name, as messages name the resource.
    pub(crate) fn group_resource(&self) -> GroupResource {
        GroupResource::new(&self.group, &self.plural)
    }

    /// What the custom resource's definition says, for custom resources.
    pub(crate) fn custom(&self) -> Option<&CustomVersion> {
        match &self.origin {
            Origin::Custom(version) => Some(version),
            Origin::BuiltIn(_) => None,
        }
    }

    /// The built-in kind, for built-in resources.
    pub(crate) fn builtin(&self) -> Option<&'static BuiltinKind> {
        match &self.origin {
            Origin::BuiltIn(kind) => Some(kind),
            Origin::Custom(_) => None,
        }
    }

    /// Whether stored objects are shown as they are.
    pub(crate) fn is_stored_form(&self) -> bool {
        self.storage_api_version == self.api_version()
    }

    /// Whether its objects are only answers to a POST and never stored (reviews).
    pub(crate) fn is_virtual(&self) -> bool {
        self.builtin().is_some_and(|kind| kind.is_virtual)
    }
}

/// `v1` for the core group, `group/version` for the others.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The order in which versions of a group are preferred: v2 before v1 before v1beta1 (Kubernetes version priority).
pub(crate) fn version_rank(version: &str) -> (u8, u64, u64, String) {
    let parsed = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let major: u64 = rest[..digits].parse().ok()?;
        let (stage, minor) = match &rest[digits..] {
            "" => (2, "0"),
            beta if beta.starts_with("beta") => (1, &beta[4..]),
            alpha if alpha.starts_with("alpha") => (0, &alpha[5..]),
            _ => return None,
        };
        Some((3 - stage, u64::MAX - major, u64::MAX - minor.parse::<u64>().unwrap_or(0)))
    };
    let (stage, major, minor) = parsed().unwrap_or((9, 0, 0));
    (stage, major, minor, version.to_owned())
}

/// All resources, by group, version and plural name.
#[derive(Debug)]
pub(crate) struct Registry {
    builtin: BTreeMap<(String, String, String), Arc<ResourceType>>,
    custom: BTreeMap<(String, String, String), Arc<ResourceType>>,
}

impl Registry {
    /// The built-in resources.
    pub(crate) fn new() -> Self {
        let types = BUILTIN.iter().map(|kind| Arc::new(kind.resource_type()));
        let builtin = types.map(|one| (key(&one), one)).collect();
        Self { builtin, custom: BTreeMap::new() }
    }

    /// The resource under this path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<ResourceType>> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.builtin.get(&key).or_else(|| self.custom.get(&key))
    }

    /// Any version of the resource that stores its objects here.
    pub(crate) fn stored(&self, storage: &GroupResource) -> Option<&Arc<ResourceType>> {
        self.all().find(|one| one.storage == *storage && one.is_stored_form())
    }

    /// All resources by group, version and name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<ResourceType>> {
        self.builtin.values().chain(self.custom.values())
    }

    /// The groups, the core group first, then by name.
    pub(crate) fn groups(&self) -> BTreeSet<String> {
        self.all().map(|one| one.group.clone()).collect()
    }

    /// The versions of a group, the preferred one first.
    pub(crate) fn versions(&self, group: &str) -> Vec<String> {
        let versions: BTreeSet<&str> =
            self.all().filter(|one| one.group == group).map(|one| one.version.as_str()).collect();
        let mut versions: Vec<String> = versions.into_iter().map(str::to_owned).collect();
        versions.sort_by_key(|version| version_rank(version));
        versions
    }

    /// The resources of a version of a group, by name.
    pub(crate) fn resources(&self, group: &str, version: &str) -> Vec<Arc<ResourceType>> {
        self.all().filter(|one| one.group == group && one.version == version).cloned().collect()
    }

    /// Serves what a definition says now instead of what it said before.
    pub(crate) fn replace_custom(&mut self, storage: &GroupResource, types: Vec<ResourceType>) {
        self.custom.retain(|_, one| one.storage != *storage);
        self.custom.extend(types.into_iter().map(|one| (key(&one), Arc::new(one))));
    }
}

fn key(one: &ResourceType) -> (String, String, String) {
    (one.group.clone(), one.version.clone(), one.plural.clone())
}

#[cfg(test)]
mod tests {
    use super::{Registry, version_rank};

    #[test]
    fn newer_and_stabler_versions_come_first() {
        let mut versions = ["v1alpha1", "v10", "v2", "v1beta2", "v1", "v1beta1", "foo"];
        versions.sort_by_key(|version| version_rank(version));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]);
    }

    #[test]
    fn built_in_resources_are_found_by_path() {
        let registry = Registry::new();
        assert_eq!(registry.find("apps", "v1", "deployments").unwrap().kind, "Deployment");
        assert!(registry.find("apps", "v1", "pods").is_none());
    }
}
