//! `DescribeInstanceTypes`: which machine types there are. What EC2 says of each is in `machine_type_xml`.

use super::{Answer, Call, error::Refusal, filter, machine_type_xml, page::Page, query::Params, xml::Xml};
use crate::world::{MachineType, passes};

/// `DescribeInstanceTypes`: the types sold in the region, by name, 100 a page.
pub(crate) fn describe_instance_types(call: &Call<'_>, mut params: Params) -> Answer {
    let names = params.texts("InstanceType")?;
    let filters = filter::take::<MachineType>(&mut params, false)?;
    let page = Page::take(&mut params, call.action, &(5..=100))?;
    params.finish()?;
    refuse_unknown(call, &names)?;
    let types = call.world.machine_types().filter(|t| names.is_empty() || names.iter().any(|name| name == t.name));
    let (types, next) = page.cut(types.filter(|t| passes(*t, &filters)), |t| t.name.to_owned())?;
    let mut xml = Xml::new();
    xml.items("instanceTypeSet", types, machine_type_xml::write);
    xml.optional("nextToken", next);
    Ok(xml)
}

/// Refuses names that no type of the region has.
pub(crate) fn refuse_unknown(call: &Call<'_>, names: &[String]) -> Result<(), Refusal> {
    let sold = |name: &String| call.world.machine_types().any(|t| t.name == name);
    let unknown: Vec<&str> = names.iter().filter(|name| !sold(name)).map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let text = format!("The following supplied instance types do not exist: [{}]", unknown.join(", "));
    Err(Refusal::bad("InvalidInstanceType", text))
}
