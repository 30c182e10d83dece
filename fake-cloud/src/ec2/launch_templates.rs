//! Launch templates: create, describe, versions, delete.

use super::{
    Answer, Call, error::Refusal, filter, launch_settings, launch_settings_xml, page::Page, query::Params, xml::Xml,
};
use crate::world::{CloudError, LaunchTemplate, LaunchTemplateVersion, TemplateRef, TemplateRequest, passes};

/// `CreateLaunchTemplate`.
pub(crate) fn create_launch_template(call: &mut Call<'_>, mut params: Params) -> Answer {
    let name = params.required("LaunchTemplateName")?;
    let mut data = params.part("LaunchTemplateData");
    if data.is_empty() {
        return Err(Refusal::missing_parameter("LaunchTemplateData"));
    }
    let settings = launch_settings::take(&mut data)?;
    data.no_more()?;
    let request = TemplateRequest {
        name,
        settings,
        description: params.text("VersionDescription"),
        tags: launch_settings::tag_specifications(&mut params)?,
        token: params.text("ClientToken"),
    };
    let dry_run = params.dry_run()?;
    params.no_more()?;
    if dry_run {
        // A rehearsal in a copy of the world finds whatever would be wrong; dry runs are rare enough for its price.
        call.world.clone().create_launch_template(request)?;
        return Err(CloudError::DryRun.into());
    }
    let template = call.world.create_launch_template(request)?;
    call.touched.push(template.id.clone());
    let mut xml = Xml::new();
    xml.node("launchTemplate", |xml| write(xml, call, &template));
    Ok(xml)
}

/// `DescribeLaunchTemplates`: by ids, by names, or all that pass the filters.
pub(crate) fn describe_launch_templates(call: &Call<'_>, mut params: Params) -> Answer {
    let ids = params.texts("LaunchTemplateId")?;
    let names = params.texts("LaunchTemplateName")?;
    let filters = filter::take::<LaunchTemplate>(&mut params, true)?;
    let page = Page::take(&mut params, call.action, &(1..=200))?;
    params.finish()?;
    let wanted = ids.into_iter().map(TemplateRef::Id).chain(names.into_iter().map(TemplateRef::Name));
    let wanted = wanted
        .map(|wanted| Ok(call.world.launch_template(&wanted)?.id.as_str()))
        .collect::<Result<Vec<_>, Refusal>>()?;
    let chosen =
        call.world.launch_templates().filter(|template| wanted.is_empty() || wanted.contains(&template.id.as_str()));
    let (templates, next) = page.cut(chosen.filter(|template| passes(*template, &filters)), |t| t.id.clone())?;
    let mut xml = Xml::new();
    xml.items("launchTemplates", templates, |xml, template| write(xml, call, template));
    xml.optional("nextToken", next);
    Ok(xml)
}

/// `DescribeLaunchTemplateVersions` of one template.
pub(crate) fn describe_launch_template_versions(call: &Call<'_>, mut params: Params) -> Answer {
    let reference = template_reference(&mut params)?;
    let wanted = params.texts("LaunchTemplateVersion")?;
    let least = params.number::<u64>("MinVersion")?.unwrap_or(0);
    let most = params.number::<u64>("MaxVersion")?.unwrap_or(u64::MAX);
    let page = Page::take(&mut params, call.action, &(1..=200))?;
    params.finish()?;
    let template = call.world.launch_template(&reference)?;
    let number = |version: &String| Ok(call.world.launch_template_version(&reference, Some(version))?.1);
    let wanted = wanted.iter().map(number).collect::<Result<Vec<u64>, Refusal>>()?;
    let chosen = |number: u64| (least..=most).contains(&number) && (wanted.is_empty() || wanted.contains(&number));
    // EC2 shows the newest first; the key counts down so that it grows along the list.
    let versions = template.versions.iter().rev().filter(|(number, _)| chosen(**number));
    let (versions, next) = page.cut(versions, |(number, _)| format!("{:020}", u64::MAX - **number))?;
    let mut xml = Xml::new();
    xml.items("launchTemplateVersionSet", versions, |xml, (number, version)| {
        write_version(xml, call, template, *number, version);
    });
    xml.optional("nextToken", next);
    Ok(xml)
}

/// `DeleteLaunchTemplate`.
pub(crate) fn delete_launch_template(call: &mut Call<'_>, mut params: Params) -> Answer {
    let reference = template_reference(&mut params)?;
    let dry_run = params.dry_run()?;
    params.no_more()?;
    call.world.launch_template(&reference)?;
    if dry_run {
        return Err(CloudError::DryRun.into());
    }
    let template = call.world.delete_launch_template(&reference)?;
    call.touched.push(template.id.clone());
    let mut xml = Xml::new();
    xml.node("launchTemplate", |xml| write(xml, call, &template));
    Ok(xml)
}

/// Takes `LaunchTemplateId` or `LaunchTemplateName`, of which one must be there.
pub(crate) fn template_reference(params: &mut Params) -> Result<TemplateRef, Refusal> {
    match (params.text("LaunchTemplateId"), params.text("LaunchTemplateName")) {
        (Some(_), Some(_)) => Err(Refusal::combination("LaunchTemplateId", "LaunchTemplateName")),
        (Some(id), None) => Ok(TemplateRef::Id(id)),
        (None, Some(name)) => Ok(TemplateRef::Name(name)),
        (None, None) => {
            Err(Refusal::bad("MissingParameter", "Either LaunchTemplateId or LaunchTemplateName must be specified."))
        }
    }
}

pub(crate) fn write(xml: &mut Xml, call: &Call<'_>, template: &LaunchTemplate) {
    xml.text("launchTemplateId", &template.id);
    xml.text("launchTemplateName", &template.name);
    xml.time("createTime", template.created);
    xml.text("createdBy", call.caller_arn());
    xml.text("defaultVersionNumber", template.default_version);
    xml.text("latestVersionNumber", template.latest_version());
    xml.tags("tagSet", &template.tags);
}

pub(crate) fn write_version(
    xml: &mut Xml,
    call: &Call<'_>,
    template: &LaunchTemplate,
    number: u64,
    version: &LaunchTemplateVersion,
) {
    xml.text("launchTemplateId", &template.id);
    xml.text("launchTemplateName", &template.name);
    xml.text("versionNumber", number);
    xml.optional("versionDescription", version.description.as_deref());
    xml.time("createTime", version.created);
    xml.text("createdBy", call.caller_arn());
    xml.text("defaultVersion", number == template.default_version);
    xml.node("launchTemplateData", |xml| launch_settings_xml::write(xml, &version.settings));
}
