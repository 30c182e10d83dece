//! Launch templates and tags: what requests make and change without launching anything.

use super::{
    CloudError, LaunchTemplate, LaunchTemplateVersion, ResourceKind, Tags, TemplateRef, TemplateRequest, World, tags,
    token::{Outcome, fingerprint},
};
use std::collections::BTreeMap;

impl World {
    /// Makes a launch template.
    ///
    /// # Errors
    /// The name is taken or wrong, or the content is; or the token was used with other parameters.
    pub fn create_launch_template(&mut self, request: TemplateRequest) -> Result<LaunchTemplate, CloudError> {
        let print = fingerprint(&request);
        let token = request.token.clone();
        let known = self.tokens.recall(self.now, "CreateLaunchTemplate", token.as_deref(), print)?;
        if let Some(Outcome::Template(id)) = known {
            return self.templates.find(&TemplateRef::Id(id)).cloned();
        }
        self.templates.check_new(&request)?;
        let id =
            format!("lt-0{}", self.seed.stream(&["launch-template", &request.name, &self.version.to_string()]).hex(16));
        let template = self.templates.insert(id.clone(), request, self.now).clone();
        self.tokens.remember(self.now, "CreateLaunchTemplate", token.as_deref(), print, Outcome::Template(id));
        self.changed();
        Ok(template)
    }

    /// Adds a version to a launch template; returns the template and the version's number.
    ///
    /// # Errors
    /// The template does not exist, or the content is wrong.
    pub fn create_launch_template_version(
        &mut self,
        template: &TemplateRef,
        version: LaunchTemplateVersion,
    ) -> Result<(LaunchTemplate, u64), CloudError> {
        let (template, number) = self.templates.add_version(template, version)?;
        let template = template.clone();
        self.changed();
        Ok((template, number))
    }

    /// Says which version is meant where none is named.
    ///
    /// # Errors
    /// The template does not exist.
    pub fn set_default_version(&mut self, template: &TemplateRef, number: u64) -> Result<(), CloudError> {
        self.templates.find_mut(template)?.default_version = number;
        self.changed();
        Ok(())
    }

    /// Deletes a version of a launch template.
    ///
    /// # Errors
    /// There is no such version, or it is the default one.
    pub fn delete_launch_template_version(&mut self, template: &TemplateRef, number: u64) -> Result<(), CloudError> {
        let template = self.templates.find_mut(template)?;
        if template.default_version == number {
            let reason = format!("Cannot delete version {number}: it is the default version.");
            return Err(CloudError::InUse { reason });
        }
        let unknown = || CloudError::NotFound { kind: ResourceKind::LaunchTemplateVersion, id: number.to_string() };
        template.versions.remove(&number).ok_or_else(unknown)?;
        self.changed();
        Ok(())
    }

    /// Deletes a launch template; machines launched from it stay.
    ///
    /// # Errors
    /// It does not exist.
    pub fn delete_launch_template(&mut self, template: &TemplateRef) -> Result<LaunchTemplate, CloudError> {
        let removed = self.templates.remove(template)?;
        self.changed();
        Ok(removed)
    }

    /// Sets tags on resources of any kind.
    ///
    /// # Errors
    /// A tag is wrong or a resource does not exist; then nothing is set.
    pub fn create_tags(&mut self, ids: &[String], tags: &Tags) -> Result<(), CloudError> {
        tags::check_tags(tags)?;
        for id in ids {
            let mut after = self.tags_mut(id)?.clone();
            after.extend(tags.clone());
            tags::check_count(&after)?;
        }
        for id in ids {
            self.tags_mut(id)?.extend(tags.clone());
        }
        self.changed();
        Ok(())
    }

    /// Removes tags: each key, if its value is as given or no value is given.
    ///
    /// # Errors
    /// A resource does not exist; then nothing is removed.
    pub fn delete_tags(&mut self, ids: &[String], tags: &BTreeMap<String, Option<String>>) -> Result<(), CloudError> {
        for id in ids {
            self.tags_mut(id)?;
        }
        for id in ids {
            let named = |key: &str, value: &str| {
                tags.get(key).is_some_and(|wanted| wanted.as_deref().is_none_or(|wanted| wanted == value))
            };
            self.tags_mut(id)?.retain(|key, value| !named(key, value));
        }
        self.changed();
        Ok(())
    }

    fn tags_mut(&mut self, id: &str) -> Result<&mut Tags, CloudError> {
        let unknown = || CloudError::NotFound { kind: ResourceKind::Taggable, id: id.to_owned() };
        let kind = id.split_once('-').map_or("", |(kind, _)| kind);
        let found = match kind {
            "i" => self.instances.get_mut(id).map(|instance| &mut instance.tags),
            "vol" => {
                let mut volumes = self.instances.values_mut().flat_map(|instance| &mut instance.volumes);
                volumes.find(|volume| volume.id == id).map(|volume| &mut volume.tags)
            }
            "eni" => {
                let mut interfaces = self.instances.values_mut().flat_map(|instance| &mut instance.interfaces);
                interfaces.find(|interface| interface.id == id).map(|interface| &mut interface.tags)
            }
            "lt" => self.templates.by_id.get_mut(id).map(|template| &mut template.tags),
            "ami" => self.images.images.get_mut(id).map(|image| &mut image.tags),
            "subnet" => self.network.subnet_mut(id).ok().map(|subnet| &mut subnet.tags),
            "sg" => {
                let mut groups = self.network.security_groups.iter_mut();
                groups.find(|group| group.id == id).map(|group| &mut group.tags)
            }
            "cr" => self.reservations.by_id.get_mut(id).map(|reservation| &mut reservation.tags),
            "pg" => self.groups.0.get_mut(id).map(|group| &mut group.tags),
            "fleet" => self.fleet_tags_mut(id),
            "vpc" => Some(&mut self.network.vpc).filter(|vpc| vpc.id == id).map(|vpc| &mut vpc.tags),
            _ => None,
        };
        found.ok_or_else(unknown)
    }
}
