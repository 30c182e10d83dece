//! Instance profiles: one for each NodeClass and role, made when it is needed and deleted with its class (spec aws 1.5).

use super::{
    call::{Calls, all_pages},
    sdk::Clients,
    tags,
};
use crate::cloud::CloudError;
use aws_sdk_iam::types::{InstanceProfile, Tag};
use sawhorse_core::api::{Ec2NodeClass, labels};

/// IAM's codes that this room branches on.
const NO_SUCH_ENTITY: &str = "NoSuchEntity";
const EXISTS: &str = "EntityAlreadyExists";

/// Where the profiles of a class are filed.
pub(super) fn path(class: &Ec2NodeClass, cluster: &str, region: &str) -> String {
    let uid = class.metadata.uid.as_deref().unwrap_or_default();
    format!("/karpenter/{region}/{cluster}/{uid}/")
}

/// Makes sure that there is a profile of this name with this role in it.
pub(super) async fn ensure(
    calls: &Calls,
    clients: &Clients,
    class: &Ec2NodeClass,
    (cluster, region): (&str, &str),
    (name, role): (&str, &str),
) -> Result<(), CloudError> {
    // Only the last part of a role's path and name is its name.
    let role = role.rsplit('/').next().unwrap_or(role);
    let found = match get(calls, clients, name).await? {
        Some(found) => found,
        None => create(calls, clients, class, (cluster, region), name).await?,
    };
    let has: Vec<&str> = found.roles().iter().map(|role| role.role_name()).collect();
    if has.contains(&role) {
        return Ok(());
    }
    for other in has {
        remove_role(calls, clients, name, other).await?;
    }
    let request = || clients.iam.add_role_to_instance_profile().instance_profile_name(name).role_name(role).send();
    match calls.send("AddRoleToInstanceProfile", request).await {
        // Somebody else has put it in meanwhile.
        Err(error) if error.has_code("LimitExceeded") => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}

async fn get(calls: &Calls, clients: &Clients, name: &str) -> Result<Option<InstanceProfile>, CloudError> {
    let request = || clients.iam.get_instance_profile().instance_profile_name(name).send();
    match calls.send("GetInstanceProfile", request).await {
        Ok(answer) => Ok(answer.instance_profile),
        Err(error) if error.has_code(NO_SUCH_ENTITY) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn create(
    calls: &Calls,
    clients: &Clients,
    class: &Ec2NodeClass,
    (cluster, region): (&str, &str),
    name: &str,
) -> Result<InstanceProfile, CloudError> {
    let node_class = class.metadata.name.as_deref().unwrap_or_default();
    let mut all = tags::of_class(cluster, "", node_class, &class.spec.tags);
    all.remove(labels::NODE_POOL);
    all.insert(labels::REGION.to_owned(), region.to_owned());
    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build().ok();
    let tags: Vec<Tag> = all.iter().filter_map(tag).collect();
    let path = path(class, cluster, region);
    let request = || {
        let request = clients.iam.create_instance_profile().instance_profile_name(name).path(&path);
        request.set_tags(Some(tags.clone())).send()
    };
    let missing = || super::error::unusable("CreateInstanceProfile", "it names no profile".to_owned());
    match calls.send("CreateInstanceProfile", request).await {
        Ok(answer) => answer.instance_profile.ok_or_else(missing),
        // The answer to an earlier request was lost.
        Err(error) if error.has_code(EXISTS) => get(calls, clients, name).await?.ok_or(error),
        Err(error) => Err(error),
    }
}

async fn remove_role(calls: &Calls, clients: &Clients, profile: &str, role: &str) -> Result<(), CloudError> {
    let request =
        || clients.iam.remove_role_from_instance_profile().instance_profile_name(profile).role_name(role).send();
    unless_gone(calls.send("RemoveRoleFromInstanceProfile", request).await.map(|_| ()))
}

/// Deletes every profile that was made for the class.
pub(super) async fn delete_of_class(
    calls: &Calls,
    clients: &Clients,
    class: &Ec2NodeClass,
    (cluster, region): (&str, &str),
) -> Result<(), CloudError> {
    let path = &path(class, cluster, region);
    let profiles = all_pages("ListInstanceProfiles", |marker| async move {
        let request = || clients.iam.list_instance_profiles().path_prefix(path).set_marker(marker.clone()).send();
        let page = calls.send("ListInstanceProfiles", request).await?;
        Ok((page.instance_profiles().to_vec(), page.marker.clone()))
    })
    .await?;
    for profile in profiles {
        let name = profile.instance_profile_name();
        for role in profile.roles() {
            remove_role(calls, clients, name, role.role_name()).await?;
        }
        let request = || clients.iam.delete_instance_profile().instance_profile_name(name).send();
        unless_gone(calls.send("DeleteInstanceProfile", request).await.map(|_| ()))?;
    }
    Ok(())
}

fn unless_gone(outcome: Result<(), CloudError>) -> Result<(), CloudError> {
    match outcome {
        Err(error) if error.has_code(NO_SUCH_ENTITY) => Ok(()),
        outcome => outcome,
    }
}

/// Why a class whose profile could not be made is not ready; none for what will pass.
pub(super) fn refusal(error: &CloudError) -> Option<(&'static str, String)> {
    let CloudError::Rejected { code, message, .. } = error else { return None };
    let reason = match code.as_str() {
        NO_SUCH_ENTITY => "RoleNotFound",
        "AccessDenied" | "UnauthorizedOperation" => "Unauthorized",
        _ => return None,
    };
    Some((reason, format!("`spec.role`: {code}: {message}")))
}
