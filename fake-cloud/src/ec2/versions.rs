//! Versions of launch templates after the first.

use super::{
    Answer, Call,
    error::Refusal,
    launch_settings,
    launch_templates::{template_reference, write, write_version},
    query::Params,
    xml::Xml,
};
use crate::world::{CloudError, LaunchTemplateVersion};

/// The most versions that one request deletes (EC2's limit).
const VERSIONS_MAX: usize = 200;

/// `CreateLaunchTemplateVersion`: from nothing, or with the given parameters over those of another version.
pub(crate) fn create(call: &mut Call<'_>, mut params: Params) -> Answer {
    let reference = template_reference(&mut params)?;
    params.text("ClientToken");
    params.boolean("ResolveAlias")?;
    let source = params.text("SourceVersion");
    let description = params.text("VersionDescription");
    let mut data = params.part("LaunchTemplateData");
    let given = launch_settings::take(&mut data)?;
    data.no_more()?;
    call.world.launch_template(&reference)?;
    params.finish()?;
    let settings = match source {
        None => given,
        Some(source) => {
            let (_, _, version) = call.world.launch_template_version(&reference, Some(&source))?;
            version.settings.overridden_by(&given)
        }
    };
    let version = LaunchTemplateVersion { created: call.world.now(), description, settings };
    let (template, number) = call.world.create_launch_template_version(&reference, version)?;
    call.touched.push(template.id.clone());
    let mut xml = Xml::new();
    xml.node("launchTemplateVersion", |xml| write_version(xml, call, &template, number, &template.versions[&number]));
    Ok(xml)
}

/// `ModifyLaunchTemplate`: which version is meant where none is named.
pub(crate) fn modify(call: &mut Call<'_>, mut params: Params) -> Answer {
    let reference = template_reference(&mut params)?;
    params.text("ClientToken");
    // The API's model and its clients spell it in two ways.
    let default = params.text("SetDefaultVersion").or_else(|| params.text("DefaultVersion"));
    call.world.launch_template(&reference)?;
    params.finish()?;
    if let Some(version) = default {
        let (_, number, _) = call.world.launch_template_version(&reference, Some(&version))?;
        call.world.set_default_version(&reference, number)?;
    }
    let template = call.world.launch_template(&reference)?.clone();
    call.touched.push(template.id.clone());
    let mut xml = Xml::new();
    xml.node("launchTemplate", |xml| write(xml, call, &template));
    Ok(xml)
}

/// `DeleteLaunchTemplateVersions`: all but the default one.
pub(crate) fn delete(call: &mut Call<'_>, mut params: Params) -> Answer {
    let reference = template_reference(&mut params)?;
    let versions = params.texts("LaunchTemplateVersion")?;
    let template = call.world.launch_template(&reference)?.clone();
    params.finish()?;
    if versions.is_empty() || versions.len() > VERSIONS_MAX {
        return Err(Refusal::invalid_parameter(format!("Name 1 to {VERSIONS_MAX} versions")));
    }
    let (mut deleted, mut kept) = (Vec::new(), Vec::new());
    for version in versions {
        let number = version.parse::<u64>().ok();
        match number.map(|number| call.world.delete_launch_template_version(&reference, number)) {
            Some(Ok(())) => deleted.push(version),
            Some(Err(CloudError::InUse { reason })) => kept.push((version, "unexpectedError", reason)),
            Some(Err(_)) | None => {
                kept.push((version, "launchTemplateVersionDoesNotExist", "There is no such version.".to_owned()));
            }
        }
    }
    let mut xml = Xml::new();
    xml.items("successfullyDeletedLaunchTemplateVersionSet", deleted, |xml, version| {
        xml.text("launchTemplateId", &template.id);
        xml.text("launchTemplateName", &template.name);
        xml.text("versionNumber", version);
    });
    xml.items("unsuccessfullyDeletedLaunchTemplateVersionSet", kept, |xml, (version, code, message)| {
        xml.text("launchTemplateId", &template.id);
        xml.text("launchTemplateName", &template.name);
        xml.text("versionNumber", version.parse::<u64>().unwrap_or(0));
        xml.node("responseError", |xml| {
            xml.text("code", code);
            xml.text("message", message);
        });
    });
    Ok(xml)
}
