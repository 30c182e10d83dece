//! IAM: instance profiles and roles, as far as machines get identities by them.

use super::{Answer, Call, error::Refusal, query::Params, xml::Xml};
use crate::world::{CloudError, InstanceProfile, Role, Tags};
use std::ops::RangeInclusive;

const PAGE_SIZES: RangeInclusive<u32> = 1..=1_000;
/// What IAM shows when nothing is asked for.
const PAGE_DEFAULT: u32 = 100;

/// Carries out an operation of IAM.
pub(crate) fn operation(call: &mut Call<'_>, params: Params) -> Answer {
    match call.action {
        "AddRoleToInstanceProfile" => add_role(call, params),
        "CreateInstanceProfile" => create_profile(call, params),
        "CreateRole" => create_role(call, params),
        "DeleteInstanceProfile" => delete_profile(call, params),
        "DeleteRole" => delete_role(call, params),
        "GetInstanceProfile" => get_profile(call, params),
        "GetRole" => get_role(call, params),
        "ListInstanceProfiles" => list_profiles(call, params),
        "ListInstanceProfilesForRole" => profiles_of_role(call, params),
        "ListRoles" => list_roles(call, params),
        "RemoveRoleFromInstanceProfile" => remove_role(call, params),
        "TagInstanceProfile" => tag_profile(call, params),
        unknown => Err(Refusal::invalid_action(unknown)),
    }
}

fn tags(params: &mut Params) -> Result<Tags, Refusal> {
    let mut part = params.part("Tags");
    let tags = part.tags("member")?.into_iter().collect();
    part.no_more()?;
    Ok(tags)
}

/// IAM's words for what the world refuses, where they differ from EC2's.
fn refusal(error: CloudError) -> Refusal {
    match error {
        CloudError::InvalidParameter { name, value, expected } => {
            Refusal::bad("ValidationError", format!("The specified value for {name} is invalid ({value}): {expected}"))
        }
        CloudError::LimitExceeded { what, limit } => {
            let text = format!("Cannot exceed quota for {what}: {limit}");
            Refusal::new(http::StatusCode::CONFLICT, "LimitExceeded", text)
        }
        CloudError::InUse { reason } => Refusal::new(http::StatusCode::CONFLICT, "DeleteConflict", reason),
        other => other.into(),
    }
}

fn create_profile(call: &mut Call<'_>, mut params: Params) -> Answer {
    let name = params.required("InstanceProfileName")?;
    let path = params.text("Path").unwrap_or_else(|| "/".to_owned());
    let tags = tags(&mut params)?;
    params.no_more()?;
    let profile = call.world.create_instance_profile(&name, &path, tags).map_err(refusal)?.clone();
    call.touched.push(name);
    Ok(in_node("InstanceProfile", |xml| write_profile(xml, call, &profile)))
}

fn get_profile(call: &Call<'_>, mut params: Params) -> Answer {
    let name = params.required("InstanceProfileName")?;
    params.no_more()?;
    let profile = call.world.instance_profile(&name).map_err(refusal)?;
    Ok(in_node("InstanceProfile", |xml| write_profile(xml, call, profile)))
}

fn delete_profile(call: &mut Call<'_>, mut params: Params) -> Answer {
    let name = params.required("InstanceProfileName")?;
    params.no_more()?;
    call.world.delete_instance_profile(&name).map_err(refusal)?;
    call.touched.push(name);
    Ok(Xml::new())
}

fn add_role(call: &mut Call<'_>, mut params: Params) -> Answer {
    let (profile, role) = (params.required("InstanceProfileName")?, params.required("RoleName")?);
    params.no_more()?;
    call.world.add_role(&profile, &role).map_err(refusal)?;
    Ok(Xml::new())
}

fn remove_role(call: &mut Call<'_>, mut params: Params) -> Answer {
    let (profile, role) = (params.required("InstanceProfileName")?, params.required("RoleName")?);
    params.no_more()?;
    call.world.remove_role(&profile, &role).map_err(refusal)?;
    Ok(Xml::new())
}

fn tag_profile(call: &mut Call<'_>, mut params: Params) -> Answer {
    let name = params.required("InstanceProfileName")?;
    let tags = tags(&mut params)?;
    params.no_more()?;
    call.world.tag_instance_profile(&name, tags).map_err(refusal)?;
    Ok(Xml::new())
}

fn list_profiles(call: &Call<'_>, mut params: Params) -> Answer {
    let prefix = params.text("PathPrefix").unwrap_or_else(|| "/".to_owned());
    let page = take_page(&mut params, call.action)?;
    params.no_more()?;
    let chosen = call.world.instance_profiles().filter(|profile| profile.path.starts_with(&prefix));
    let (profiles, next) = page.cut(chosen, |profile| profile.name.clone())?;
    Ok(listed("InstanceProfiles", profiles, next, |xml, profile| write_profile(xml, call, profile)))
}

fn profiles_of_role(call: &Call<'_>, mut params: Params) -> Answer {
    let role = params.required("RoleName")?;
    let page = take_page(&mut params, call.action)?;
    params.no_more()?;
    call.world.role(&role).map_err(refusal)?;
    let chosen = call.world.instance_profiles().filter(|profile| profile.role.as_deref() == Some(&*role));
    let (profiles, next) = page.cut(chosen, |profile| profile.name.clone())?;
    Ok(listed("InstanceProfiles", profiles, next, |xml, profile| write_profile(xml, call, profile)))
}

fn create_role(call: &mut Call<'_>, mut params: Params) -> Answer {
    let name = params.required("RoleName")?;
    let trust = params.required("AssumeRolePolicyDocument")?;
    let path = params.text("Path").unwrap_or_else(|| "/".to_owned());
    for ignored in ["Description", "MaxSessionDuration", "PermissionsBoundary"] {
        params.text(ignored);
    }
    let tags = tags(&mut params)?;
    params.no_more()?;
    if serde_json::from_str::<serde_json::Value>(&trust).is_err() {
        let text = "This policy contains invalid Json";
        return Err(Refusal::bad("MalformedPolicyDocument", text));
    }
    let role = call.world.create_role(&name, &path, &trust, tags).map_err(refusal)?;
    call.touched.push(name);
    Ok(in_node("Role", |xml| write_role(xml, call, &role)))
}

fn get_role(call: &Call<'_>, mut params: Params) -> Answer {
    let name = params.required("RoleName")?;
    params.no_more()?;
    let role = call.world.role(&name).map_err(refusal)?;
    Ok(in_node("Role", |xml| write_role(xml, call, &role)))
}

fn list_roles(call: &Call<'_>, mut params: Params) -> Answer {
    let prefix = params.text("PathPrefix").unwrap_or_else(|| "/".to_owned());
    let page = take_page(&mut params, call.action)?;
    params.no_more()?;
    let chosen = call.world.roles().filter(|role| role.path.starts_with(&prefix));
    let (roles, next) = page.cut(chosen, |role| role.name.clone())?;
    Ok(listed("Roles", roles, next, |xml, role| write_role(xml, call, role)))
}

fn delete_role(call: &mut Call<'_>, mut params: Params) -> Answer {
    let name = params.required("RoleName")?;
    params.no_more()?;
    call.world.delete_role(&name).map_err(refusal)?;
    Ok(Xml::new())
}

fn take_page(params: &mut Params, action: &str) -> Result<super::page::Page, Refusal> {
    let size = params.integer("MaxItems", &PAGE_SIZES)?.unwrap_or(PAGE_DEFAULT);
    Ok(super::page::Page::new(action, size, params.text("Marker")))
}

fn in_node(name: &str, content: impl FnOnce(&mut Xml)) -> Xml {
    let mut xml = Xml::new();
    xml.node(name, content);
    xml
}

fn listed<T>(name: &str, things: Vec<T>, next: Option<String>, write: impl Fn(&mut Xml, T)) -> Xml {
    let mut xml = Xml::new();
    xml.members(name, things, write);
    xml.text("IsTruncated", next.is_some());
    xml.optional("Marker", next);
    xml
}

fn write_profile(xml: &mut Xml, call: &Call<'_>, profile: &InstanceProfile) {
    xml.text("Path", &profile.path);
    xml.text("InstanceProfileName", &profile.name);
    xml.text("InstanceProfileId", &profile.id);
    xml.text("Arn", format!("arn:aws:iam::{}:instance-profile{}{}", call.account(), profile.path, profile.name));
    xml.time("CreateDate", profile.created);
    let role = profile.role.as_ref().and_then(|name| call.world.role(name).ok());
    xml.members("Roles", role, |xml, role| write_role(xml, call, &role));
    write_tags(xml, &profile.tags);
}

fn write_role(xml: &mut Xml, call: &Call<'_>, role: &Role) {
    xml.text("Path", &role.path);
    xml.text("RoleName", &role.name);
    xml.text("RoleId", &role.id);
    xml.text("Arn", format!("arn:aws:iam::{}:role{}{}", call.account(), role.path, role.name));
    xml.time("CreateDate", role.created);
    // IAM sends the document URL-encoded.
    let encoded = serde_urlencoded::to_string([("", &role.trust)]).unwrap_or_default();
    xml.text("AssumeRolePolicyDocument", encoded.trim_start_matches('=').replace('+', "%20"));
    write_tags(xml, &role.tags);
}

fn write_tags(xml: &mut Xml, tags: &Tags) {
    if !tags.is_empty() {
        xml.members("Tags", tags, |xml, (key, value)| {
            xml.text("Key", key);
            xml.text("Value", value);
        });
    }
}
