//! `DescribeImages`.

use super::{
    Answer, Call,
    error::Refusal,
    filter,
    page::Page,
    query::Params,
    xml::{Xml, iso_8601},
};
use crate::world::{CloudError, Image, ResourceKind, passes};

/// The size of the root volume that the images were made with, which nothing here depends on.
const ROOT_VOLUME_GIB: u32 = 20;

/// `DescribeImages`. Deprecated images are shown when asked for by id or with `IncludeDeprecated`, as EC2 does.
pub(crate) fn describe_images(call: &Call<'_>, mut params: Params) -> Answer {
    let ids = params.texts("ImageId")?;
    let owners = params.texts("Owner")?;
    let executable_by = params.texts("ExecutableBy")?;
    let include_deprecated = params.boolean("IncludeDeprecated")?.unwrap_or(false) || !ids.is_empty();
    params.boolean("IncludeDisabled")?;
    let filters = filter::take::<Image>(&mut params, true)?;
    let page = Page::take(&mut params, call.action, &(1..=1000))?;
    params.finish()?;
    for id in &ids {
        check(call, id)?;
    }
    let now = call.world.now();
    let wanted = |image: &Image| {
        (ids.is_empty() || ids.contains(&image.id))
            && (owners.is_empty() || owners.iter().any(|owner| owns(call, owner, image)))
            // All images of the world are public, so none is shared with somebody in particular.
            && executable_by.iter().all(|who| who == "all")
            && (include_deprecated || image.deprecated.is_none_or(|since| since > now))
            && passes(image, &filters)
    };
    let (images, next) = page.cut(call.world.images().filter(|image| wanted(image)), |image| image.id.clone())?;
    let mut xml = Xml::new();
    xml.items("imagesSet", images, write);
    xml.optional("nextToken", next);
    Ok(xml)
}

fn check(call: &Call<'_>, id: &str) -> Result<(), Refusal> {
    check_form(id)?;
    match call.world.image(id) {
        Some(_) => Ok(()),
        None => Err(CloudError::NotFound { kind: ResourceKind::Image, id: id.to_owned() }.into()),
    }
}

/// Refuses what cannot be the id of an image.
pub(crate) fn check_form(id: &str) -> Result<(), Refusal> {
    let digits = id.strip_prefix("ami-").unwrap_or_default();
    if matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(CloudError::MalformedId { kind: ResourceKind::Image, id: id.to_owned() }.into())
}

/// Whether `owner` (an account, `self`, or an alias) names the image's owner.
fn owns(call: &Call<'_>, owner: &str, image: &Image) -> bool {
    match owner {
        "self" => image.owner_id == call.account(),
        other => other == image.owner_id || other == image.owner_alias,
    }
}

fn write(xml: &mut Xml, image: &Image) {
    xml.text("imageId", &image.id);
    xml.text("imageLocation", format!("{}/{}", image.owner_alias, image.name));
    xml.text("imageState", "available");
    xml.text("imageOwnerId", image.owner_id);
    xml.text("imageOwnerAlias", image.owner_alias);
    xml.text("isPublic", true);
    xml.text("architecture", image.architecture);
    xml.text("imageType", "machine");
    xml.optional("platform", image.platform);
    xml.text("platformDetails", if image.platform.is_some() { "Windows" } else { "Linux/UNIX" });
    xml.text("usageOperation", if image.platform.is_some() { "RunInstances:0002" } else { "RunInstances" });
    xml.text("name", &image.name);
    xml.text("description", &image.name);
    xml.text("creationDate", iso_8601(image.created));
    xml.optional("deprecationTime", image.deprecated.map(iso_8601));
    xml.text("enaSupport", true);
    xml.text("hypervisor", "xen");
    xml.text("virtualizationType", "hvm");
    xml.text("rootDeviceType", "ebs");
    xml.text("rootDeviceName", image.root_device);
    xml.items("blockDeviceMapping", [image.root_device], |xml, device| {
        xml.text("deviceName", device);
        xml.node("ebs", |xml| {
            xml.text("deleteOnTermination", true);
            xml.text("volumeSize", ROOT_VOLUME_GIB);
            xml.text("volumeType", "gp3");
            xml.text("encrypted", false);
        });
    });
    xml.tags("tagSet", &image.tags);
}
