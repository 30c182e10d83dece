//! Tags: keys with values on everything.

use super::CloudError;
use std::collections::BTreeMap;

/// A resource's tags, by key.
pub type Tags = BTreeMap<String, String>;

/// EC2's limits on tags (EC2 user guide, "Tag restrictions").
const MAX_TAGS: usize = 50;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;
/// Keys with this prefix belong to the vendor.
const RESERVED_PREFIX: &str = "aws:";

/// Tags for one kind of resource that a request will make.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct TagSpecification {
    /// `instance`, `volume`, `network-interface`, `spot-instances-request`, `launch-template`, `fleet`.
    pub resource: String,
    /// The tags.
    pub tags: Tags,
}

/// The tags that `specifications` give to a kind of resource; later ones win.
pub(crate) fn tags_for(specifications: &[TagSpecification], resource: &str) -> Tags {
    specifications.iter().filter(|spec| spec.resource == resource).flat_map(|spec| spec.tags.clone()).collect()
}

/// Checks tags given by a user.
pub(crate) fn check_tags(tags: &Tags) -> Result<(), CloudError> {
    check_count(tags)?;
    tags.iter().try_for_each(|(key, value)| check_tag(key, value))
}

/// Checks how many tags a resource has; the vendor's own do not count.
pub(crate) fn check_count(tags: &Tags) -> Result<(), CloudError> {
    if tags.keys().filter(|key| !key.starts_with(RESERVED_PREFIX)).count() > MAX_TAGS {
        return Err(CloudError::LimitExceeded { what: "tags per resource", limit: MAX_TAGS });
    }
    Ok(())
}

fn check_tag(key: &str, value: &str) -> Result<(), CloudError> {
    let wrong = |name: &str, value: &str, expected: String| {
        Err(CloudError::InvalidParameter { name: name.to_owned(), value: value.to_owned(), expected })
    };
    if key.is_empty() || key.chars().count() > MAX_KEY {
        return wrong("Tag.Key", key, format!("a tag key has 1 to {MAX_KEY} characters"));
    }
    if key.starts_with(RESERVED_PREFIX) {
        return wrong("Tag.Key", key, "tag keys may not begin with `aws:`, which is reserved".to_owned());
    }
    if value.chars().count() > MAX_VALUE {
        return wrong("Tag.Value", value, format!("a tag value has at most {MAX_VALUE} characters"));
    }
    Ok(())
}

/// Checks every specification of a request.
pub(crate) fn check_specifications(specifications: &[TagSpecification]) -> Result<(), CloudError> {
    specifications.iter().try_for_each(|specification| check_tags(&specification.tags))
}
