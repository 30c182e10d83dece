//! Identities of machines: roles, and the instance profiles that hand them to machines.

use super::{CloudError, ResourceKind, Tags, World, tags};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// IAM's quotas: profiles and roles of an account, length of a name.
const MAX_PROFILES: usize = 1_000;
const MAX_ROLES: usize = 1_000;
const MAX_NAME: usize = 128;
const MAX_ROLE_NAME: usize = 64;
const MAX_PATH: usize = 512;

/// An instance profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceProfile {
    /// Its name, unique in the account.
    pub name: String,
    /// Where it is filed, e.g. `/karpenter/us-west-2/c1/`.
    pub path: String,
    /// E.g. `AIPA…`.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// The role that machines get, if any.
    pub role: Option<String>,
    /// Its tags.
    pub tags: Tags,
    /// From when on launches know it.
    pub(crate) usable: Timestamp,
    /// Whether a request made it, so that somebody has to delete it.
    pub(crate) made: bool,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name, unique in the account.
    pub name: String,
    /// Where it is filed.
    pub path: String,
    /// E.g. `AROA…`.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// Who may take it, as JSON.
    pub trust: String,
    /// Its tags.
    pub tags: Tags,
}

/// Profiles and roles of the account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identities {
    pub(crate) profiles: BTreeMap<String, InstanceProfile>,
    pub(crate) roles: BTreeMap<String, Role>,
    /// Whether names that nobody made are taken for profiles and roles that exist.
    pub(crate) any_profile: bool,
    pub(crate) any_role: bool,
}

impl World {
    /// What the account has at the beginning. Names that are not given (`None`) are all accepted.
    pub(crate) fn begin_identities(&mut self, profiles: Option<&[String]>, roles: Option<&[String]>) {
        self.identities.any_profile = profiles.is_none();
        self.identities.any_role = roles.is_none();
        for name in roles.unwrap_or_default() {
            let role = self.new_role(name, "/", EC2_TRUST, Tags::new());
            self.identities.roles.insert(name.clone(), role);
        }
        for name in profiles.unwrap_or_default() {
            let profile = InstanceProfile { made: false, ..self.new_profile(name, "/", Tags::new()) };
            self.identities.profiles.insert(name.clone(), profile);
        }
    }

    fn new_profile(&self, name: &str, path: &str, tags: Tags) -> InstanceProfile {
        let path = path.to_owned();
        let mut draw = self.seed.stream(&["instance-profile", name, &self.version.to_string()]);
        let id = format!("AIPA{}", draw.text(ID_LETTERS, 17));
        let usable = self.now + self.lag("instance-profile", name, self.consistency.instance_profiles);
        InstanceProfile { name: name.to_owned(), path, id, created: self.now, role: None, tags, usable, made: true }
    }

    fn new_role(&self, name: &str, path: &str, trust: &str, tags: Tags) -> Role {
        let id = format!("AROA{}", self.seed.stream(&["role", name]).text(ID_LETTERS, 17));
        let (name, path, trust) = (name.to_owned(), path.to_owned(), trust.to_owned());
        Role { name, path, id, created: self.now, trust, tags }
    }

    /// Makes an instance profile without a role.
    ///
    /// # Errors
    /// The name is taken or wrong, or there are too many.
    pub fn create_instance_profile(
        &mut self,
        name: &str,
        path: &str,
        tags: Tags,
    ) -> Result<&InstanceProfile, CloudError> {
        check_name("instanceProfileName", name, MAX_NAME)?;
        check_path(path)?;
        tags::check_tags(&tags)?;
        if self.identities.profiles.contains_key(name) {
            return Err(CloudError::AlreadyExists { kind: ResourceKind::InstanceProfile, id: name.to_owned() });
        }
        if self.identities.profiles.len() >= MAX_PROFILES {
            return Err(CloudError::LimitExceeded { what: "instance profiles", limit: MAX_PROFILES });
        }
        let profile = self.new_profile(name, path, tags);
        self.changed();
        Ok(self.identities.profiles.entry(name.to_owned()).insert_entry(profile).into_mut())
    }

    /// The instance profile of that name.
    ///
    /// # Errors
    /// It does not exist.
    pub fn instance_profile(&self, name: &str) -> Result<&InstanceProfile, CloudError> {
        self.identities.profiles.get(name).ok_or_else(|| unknown_profile(name))
    }

    /// The instance profiles, by name.
    pub fn instance_profiles(&self) -> impl Iterator<Item = &InstanceProfile> {
        self.identities.profiles.values()
    }

    /// Puts a role into a profile.
    ///
    /// # Errors
    /// One of them does not exist, or the profile has a role: it can have one.
    pub fn add_role(&mut self, profile: &str, role: &str) -> Result<(), CloudError> {
        self.instance_profile(profile)?;
        self.role(role)?;
        let profile = self.identities.profiles.get_mut(profile).ok_or_else(|| unknown_profile(profile))?;
        if profile.role.is_some() {
            return Err(CloudError::LimitExceeded { what: "roles in an instance profile", limit: 1 });
        }
        profile.role = Some(role.to_owned());
        self.changed();
        Ok(())
    }

    /// Takes a role out of a profile.
    ///
    /// # Errors
    /// The profile does not exist or does not have that role.
    pub fn remove_role(&mut self, profile: &str, role: &str) -> Result<(), CloudError> {
        let profile = self.identities.profiles.get_mut(profile).ok_or_else(|| unknown_profile(profile))?;
        if profile.role.as_deref() != Some(role) {
            return Err(CloudError::NotFound { kind: ResourceKind::Role, id: role.to_owned() });
        }
        profile.role = None;
        self.changed();
        Ok(())
    }

    /// Deletes an instance profile.
    ///
    /// # Errors
    /// It does not exist or still has a role.
    pub fn delete_instance_profile(&mut self, name: &str) -> Result<(), CloudError> {
        if self.instance_profile(name)?.role.is_some() {
            let reason = "Cannot delete entity, must remove roles from instance profile first.".to_owned();
            return Err(CloudError::InUse { reason });
        }
        self.identities.profiles.remove(name);
        self.changed();
        Ok(())
    }

    /// Sets tags of an instance profile.
    ///
    /// # Errors
    /// It does not exist or a tag is wrong.
    pub fn tag_instance_profile(&mut self, name: &str, tags: Tags) -> Result<(), CloudError> {
        tags::check_tags(&tags)?;
        let profile = self.identities.profiles.get_mut(name).ok_or_else(|| unknown_profile(name))?;
        profile.tags.extend(tags);
        self.changed();
        Ok(())
    }

    /// Makes a role.
    ///
    /// # Errors
    /// The name is taken or wrong, or there are too many.
    pub fn create_role(&mut self, name: &str, path: &str, trust: &str, tags: Tags) -> Result<Role, CloudError> {
        check_name("roleName", name, MAX_ROLE_NAME)?;
        check_path(path)?;
        tags::check_tags(&tags)?;
        if self.identities.roles.contains_key(name) {
            return Err(CloudError::AlreadyExists { kind: ResourceKind::Role, id: name.to_owned() });
        }
        if self.identities.roles.len() >= MAX_ROLES {
            return Err(CloudError::LimitExceeded { what: "roles", limit: MAX_ROLES });
        }
        let role = self.new_role(name, path, trust, tags);
        self.identities.roles.insert(name.to_owned(), role.clone());
        self.changed();
        Ok(role)
    }

    /// The role of that name; if the account takes every name, one made up for it.
    ///
    /// # Errors
    /// It does not exist.
    pub fn role(&self, name: &str) -> Result<Role, CloudError> {
        let known = self.identities.roles.get(name).cloned();
        let assumed = || self.identities.any_role.then(|| self.new_role(name, "/", EC2_TRUST, Tags::new()));
        let unknown = || CloudError::NotFound { kind: ResourceKind::Role, id: name.to_owned() };
        known.or_else(assumed).ok_or_else(unknown)
    }

    /// The roles that were made, by name.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.identities.roles.values()
    }

    /// Deletes a role that is in no profile.
    ///
    /// # Errors
    /// It does not exist or is in a profile.
    pub fn delete_role(&mut self, name: &str) -> Result<(), CloudError> {
        self.role(name)?;
        if self.instance_profiles().any(|profile| profile.role.as_deref() == Some(name)) {
            let reason = "Cannot delete entity, must remove roles from instance profile first.".to_owned();
            return Err(CloudError::InUse { reason });
        }
        self.identities.roles.remove(name);
        self.changed();
        Ok(())
    }

    /// Whether a launch may name the profile: one that was made is known to EC2 a while later only.
    pub(crate) fn check_profile(&self, name: Option<&str>) -> Result<(), CloudError> {
        let Some(name) = name else { return Ok(()) };
        let usable = match self.identities.profiles.get(name) {
            Some(profile) => profile.usable <= self.now,
            None => self.identities.any_profile,
        };
        let unknown = || CloudError::NotFound { kind: ResourceKind::LaunchProfile, id: name.to_owned() };
        if usable { Ok(()) } else { Err(unknown()) }
    }
}

const ID_LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Roles that the account begins with are for machines.
const EC2_TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

fn check_name(field: &str, name: &str, most: usize) -> Result<(), CloudError> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "+=,.@-_".contains(character);
    if !name.is_empty() && name.len() <= most && name.chars().all(allowed) {
        return Ok(());
    }
    Err(CloudError::InvalidParameter {
        name: field.to_owned(),
        value: name.to_owned(),
        expected: format!("1 to {most} letters, digits and + = , . @ - _"),
    })
}

fn check_path(path: &str) -> Result<(), CloudError> {
    if path.starts_with('/') && path.ends_with('/') && path.len() <= MAX_PATH {
        return Ok(());
    }
    Err(CloudError::InvalidParameter {
        name: "path".to_owned(),
        value: path.to_owned(),
        expected: format!("it begins and ends with / and has at most {MAX_PATH} characters"),
    })
}

fn unknown_profile(name: &str) -> CloudError {
    CloudError::NotFound { kind: ResourceKind::InstanceProfile, id: name.to_owned() }
}
