//! Launch templates with versions.

use super::{CloudError, LaunchSettings, ResourceKind, TagSpecification, Tags, tags};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// EC2's quotas: templates of a region, versions of a template, length of a name.
const MAX_TEMPLATES: usize = 5_000;
const MAX_VERSIONS: usize = 10_000;
const NAME_LENGTH: std::ops::RangeInclusive<usize> = 3..=128;

/// A launch template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchTemplate {
    /// E.g. `lt-0123456789abcdef0`.
    pub id: String,
    /// Its name, unique in the region.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its versions by number, from 1.
    pub versions: BTreeMap<u64, LaunchTemplateVersion>,
    /// The version that `$Default` means.
    pub default_version: u64,
    /// Its tags.
    pub tags: Tags,
}

impl LaunchTemplate {
    /// The version that `$Latest` means.
    pub fn latest_version(&self) -> u64 {
        self.versions.last_key_value().map_or(0, |(number, _)| *number)
    }
}

/// A version of a launch template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchTemplateVersion {
    /// When it was made.
    pub created: Timestamp,
    /// In words.
    pub description: Option<String>,
    /// The content.
    pub settings: LaunchSettings,
}

/// How a request names a template: by id or by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TemplateRef {
    /// By id.
    Id(String),
    /// By name.
    Name(String),
}

/// A request for a new template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TemplateRequest {
    /// Its name.
    pub name: String,
    /// The first version's content.
    pub settings: LaunchSettings,
    /// The first version's description.
    pub description: Option<String>,
    /// Tags of the template: specifications for `launch-template`.
    pub tags: Vec<TagSpecification>,
    /// Idempotency token.
    pub token: Option<String>,
}

/// The templates of a region.
#[derive(Clone, Debug, Default)]
pub(crate) struct Templates {
    pub(crate) by_id: BTreeMap<String, LaunchTemplate>,
    ids_by_name: BTreeMap<String, String>,
}

impl Templates {
    pub(crate) fn check_new(&self, request: &TemplateRequest) -> Result<(), CloudError> {
        check_name(&request.name)?;
        request.settings.check()?;
        tags::check_specifications(&request.tags)?;
        if self.ids_by_name.contains_key(&request.name) {
            return Err(CloudError::AlreadyExists { kind: ResourceKind::LaunchTemplateName, id: request.name.clone() });
        }
        if self.by_id.len() >= MAX_TEMPLATES {
            return Err(CloudError::LimitExceeded { what: "launch templates", limit: MAX_TEMPLATES });
        }
        Ok(())
    }

    pub(crate) fn insert(&mut self, id: String, request: TemplateRequest, now: Timestamp) -> &LaunchTemplate {
        let version =
            LaunchTemplateVersion { created: now, description: request.description, settings: request.settings };
        let template = LaunchTemplate {
            id: id.clone(),
            name: request.name.clone(),
            created: now,
            versions: BTreeMap::from([(1, version)]),
            default_version: 1,
            tags: tags::tags_for(&request.tags, "launch-template"),
        };
        self.ids_by_name.insert(request.name, id.clone());
        self.by_id.entry(id).insert_entry(template).into_mut()
    }

    pub(crate) fn add_version(
        &mut self,
        template: &TemplateRef,
        version: LaunchTemplateVersion,
    ) -> Result<(&LaunchTemplate, u64), CloudError> {
        version.settings.check()?;
        let id = self.find(template)?.id.clone();
        let template = self.by_id.get_mut(&id).expect("`find` returned a template of this map");
        if template.versions.len() >= MAX_VERSIONS {
            return Err(CloudError::LimitExceeded { what: "versions of a launch template", limit: MAX_VERSIONS });
        }
        let number = template.latest_version() + 1;
        template.versions.insert(number, version);
        Ok((template, number))
    }

    pub(crate) fn find_mut(&mut self, template: &TemplateRef) -> Result<&mut LaunchTemplate, CloudError> {
        let id = self.find(template)?.id.clone();
        Ok(self.by_id.get_mut(&id).expect("`find` returned a template of this map"))
    }

    pub(crate) fn remove(&mut self, template: &TemplateRef) -> Result<LaunchTemplate, CloudError> {
        let id = self.find(template)?.id.clone();
        let removed = self.by_id.remove(&id).expect("`find` returned a template of this map");
        self.ids_by_name.remove(&removed.name);
        Ok(removed)
    }

    pub(crate) fn find(&self, template: &TemplateRef) -> Result<&LaunchTemplate, CloudError> {
        let (id, kind, named) = match template {
            TemplateRef::Id(id) => (Some(id), ResourceKind::LaunchTemplateId, id),
            TemplateRef::Name(name) => (self.ids_by_name.get(name), ResourceKind::LaunchTemplateName, name),
        };
        let found = id.and_then(|id| self.by_id.get(id));
        found.ok_or_else(|| CloudError::NotFound { kind, id: named.clone() })
    }

    /// The version that `version` means: a number, `$Latest`, `$Default`; nothing is `$Default`.
    pub(crate) fn version(
        &self,
        template: &TemplateRef,
        version: Option<&str>,
    ) -> Result<(&LaunchTemplate, u64, &LaunchTemplateVersion), CloudError> {
        let template = self.find(template)?;
        let number = match version {
            None | Some("" | "$Default") => Some(template.default_version),
            Some("$Latest") => Some(template.latest_version()),
            Some(number) => number.parse().ok(),
        };
        number.and_then(|number| Some((template, number, template.versions.get(&number)?))).ok_or_else(|| {
            let id = format!("{}, version {}", template.id, version.unwrap_or_default());
            CloudError::NotFound { kind: ResourceKind::LaunchTemplateVersion, id }
        })
    }
}

fn check_name(name: &str) -> Result<(), CloudError> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "().-/_".contains(character);
    if NAME_LENGTH.contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(CloudError::InvalidParameter {
        name: "LaunchTemplateName".to_owned(),
        value: name.to_owned(),
        expected: "3 to 128 letters, digits and `( ) . - / _`".to_owned(),
    })
}
