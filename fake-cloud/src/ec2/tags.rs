//! `CreateTags`, `DeleteTags`, `DescribeTags`.

use super::{Answer, Call, error::Refusal, filter, page::Page, query::Params, xml::Xml};
use crate::world::{Filterable, passes};
use std::{borrow::Cow, collections::BTreeMap};

/// `CreateTags`: all resources get all tags, or none gets any.
pub(crate) fn create_tags(call: &mut Call<'_>, mut params: Params) -> Answer {
    let ids = resources(&mut params)?;
    let tags = params.tags("Tag")?;
    if tags.is_empty() {
        return Err(Refusal::missing_parameter("Tag"));
    }
    params.finish()?;
    call.world.create_tags(&ids, &tags.into_iter().collect())?;
    call.touched.extend(ids);
    Ok(returned_true())
}

/// `DeleteTags`: keys with a value only where the value is that.
pub(crate) fn delete_tags(call: &mut Call<'_>, mut params: Params) -> Answer {
    let ids = resources(&mut params)?;
    let mut tags = BTreeMap::new();
    for mut tag in params.list("Tag")? {
        tags.insert(tag.required("Key")?, tag.text("Value"));
        tag.no_more()?;
    }
    params.finish()?;
    call.world.delete_tags(&ids, &tags)?;
    call.touched.extend(ids);
    Ok(returned_true())
}

/// `DescribeTags`: a row for each tag of each resource.
pub(crate) fn describe_tags(call: &Call<'_>, mut params: Params) -> Answer {
    let filters = filter::take::<Row>(&mut params, false)?;
    let page = Page::take(&mut params, call.action, &(5..=1000))?;
    params.finish()?;
    let rows = call.world.tagged().into_iter().flat_map(|(kind, id, tags)| {
        tags.iter().map(move |(key, value)| Row { kind, id: id.to_owned(), key: key.clone(), value: value.clone() })
    });
    let chosen = rows.filter(|row| passes(row, &filters));
    let (rows, next) = page.cut(chosen, |row| format!("{} {} {}", row.kind, row.id, row.key))?;
    let mut xml = Xml::new();
    xml.items("tagSet", rows, |xml, row| {
        xml.text("resourceId", row.id);
        xml.text("resourceType", row.kind);
        xml.text("key", row.key);
        xml.text("value", row.value);
    });
    xml.optional("nextToken", next);
    Ok(xml)
}

/// The answer of operations that have nothing to say.
pub(crate) fn returned_true() -> Xml {
    let mut xml = Xml::new();
    xml.text("return", true);
    xml
}

fn resources(params: &mut Params) -> Result<Vec<String>, Refusal> {
    let ids = params.texts("ResourceId")?;
    if ids.is_empty() { Err(Refusal::missing_parameter("ResourceId")) } else { Ok(ids) }
}

struct Row {
    kind: &'static str,
    id: String,
    key: String,
    value: String,
}

impl Filterable for Row {
    const NAMES: &'static [&'static str] = &["key", "resource-id", "resource-type", "value"];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "key" => vec![self.key.as_str().into()],
            "resource-id" => vec![self.id.as_str().into()],
            "resource-type" => vec![self.kind.into()],
            "value" => vec![self.value.as_str().into()],
            _ => Vec::new(),
        }
    }
}
