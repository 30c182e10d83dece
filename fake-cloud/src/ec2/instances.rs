//! Instances: describe, run, terminate, start, stop, reboot, status.

use super::{
    Answer, Call, error::Refusal, filter, images, instance_xml, launch_settings, launch_templates::template_reference,
    page::Page, query::Params, tags::returned_true, xml::Xml,
};
use crate::world::{
    Check, CloudError, Filter, Filterable, Instance, InstanceState, ResourceKind, RunRequest, StateChange, Tags, passes,
};
use std::{borrow::Cow, collections::BTreeSet, ops::RangeInclusive};

/// The sizes of pages of instances.
const SIZES: RangeInclusive<u32> = 5..=1000;
/// EC2's limit on ids of one request.
const IDS_MAX: usize = 1_000;

/// `DescribeInstances`: by ids (all of which must exist) or in pages, both with filters.
pub(crate) fn describe_instances(call: &Call<'_>, mut params: Params) -> Answer {
    let selection = Selection::take::<Instance>(&mut params, call, true)?;
    params.boolean("IncludeManagedResources")?;
    params.finish()?;
    let (instances, next) = selection.cut(call, passes)?;
    let mut xml = Xml::new();
    instance_xml::write_reservations(&mut xml, call, &instances);
    xml.optional("nextToken", next);
    Ok(xml)
}

/// `DescribeInstanceStatus`: of running instances, or with `IncludeAllInstances` of all.
pub(crate) fn describe_instance_status(call: &Call<'_>, mut params: Params) -> Answer {
    let selection = Selection::take::<Status<'_>>(&mut params, call, false)?;
    let all = params.boolean("IncludeAllInstances")?.unwrap_or(false);
    params.boolean("IncludeManagedResources")?;
    params.finish()?;
    let shown = |instance: &Instance, filters: &[Filter]| {
        (all || instance.state == InstanceState::Running) && passes(&Status(instance, call.world.now()), filters)
    };
    let (instances, next) = selection.cut(call, shown)?;
    let mut xml = Xml::new();
    xml.items("instanceStatusSet", instances, |xml, instance| {
        write_status(xml, &Status(instance, call.world.now()));
    });
    xml.optional("nextToken", next);
    Ok(xml)
}

/// Which instances a describing call is about.
struct Selection {
    ids: BTreeSet<String>,
    filters: Vec<Filter>,
    page: Page,
}

impl Selection {
    fn take<T: Filterable>(params: &mut Params, call: &Call<'_>, tagged: bool) -> Result<Self, Refusal> {
        let ids = params.texts("InstanceId")?;
        if !ids.is_empty() && params.has("MaxResults") {
            return Err(Refusal::combination("instancesSet", "maxResults"));
        }
        check_ids(&ids)?;
        let filters = filter::take::<T>(params, tagged)?;
        let page = Page::take(params, call.action, &SIZES)?;
        Ok(Self { ids: ids.into_iter().collect(), filters, page })
    }

    /// The page, reservation by reservation: the instances of one launch stay together.
    fn cut<'c>(
        &self,
        call: &'c Call<'_>,
        shown: impl Fn(&Instance, &[Filter]) -> bool,
    ) -> Result<(Vec<&'c Instance>, Option<String>), Refusal> {
        let chosen: Vec<&Instance> = if self.ids.is_empty() {
            call.world.instances().filter(|each| call.world.is_visible(each)).collect()
        } else {
            find(call, &self.ids)?
        };
        let mut chosen: Vec<_> = chosen.into_iter().filter(|instance| shown(instance, &self.filters)).collect();
        chosen.sort_by(|one, other| place(one).cmp(&place(other)));
        self.page.cut(chosen, |instance| {
            let (reservation, index, id) = place(instance);
            format!("{reservation} {index:010} {id}")
        })
    }
}

fn place(instance: &Instance) -> (&str, u32, &str) {
    (&instance.reservation_id, instance.launch_index, &instance.id)
}

fn find<'c>(call: &'c Call<'_>, ids: &BTreeSet<String>) -> Result<Vec<&'c Instance>, Refusal> {
    let known = |id: &str| call.world.instance(id).is_ok_and(|instance| call.world.is_visible(instance));
    let unknown: Vec<&str> = ids.iter().map(String::as_str).filter(|id| !known(id)).collect();
    match unknown.as_slice() {
        [] => Ok(ids.iter().filter_map(|id| call.world.instance(id).ok()).collect()),
        [id] => Err(CloudError::NotFound { kind: ResourceKind::Instance, id: (*id).to_owned() }.into()),
        many => {
            let text = format!("The instance IDs '{}' do not exist", many.join(", "));
            Err(Refusal::bad("InvalidInstanceID.NotFound", text))
        }
    }
}

fn check_ids(ids: &[String]) -> Result<(), Refusal> {
    if ids.len() > IDS_MAX {
        let text = format!("The request names {} instances; the limit is {IDS_MAX}", ids.len());
        return Err(Refusal::bad("InvalidParameterValue", text));
    }
    let well_formed = |id: &&String| {
        let digits = id.strip_prefix("i-").unwrap_or_default();
        matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match ids.iter().find(|id| !well_formed(id)) {
        Some(id) => Err(CloudError::MalformedId { kind: ResourceKind::Instance, id: id.clone() }.into()),
        None => Ok(()),
    }
}

/// `RunInstances`, from a template, from parameters, or both.
pub(crate) fn run_instances(call: &mut Call<'_>, mut params: Params) -> Answer {
    let count = |count: Option<u32>, name| count.ok_or_else(|| Refusal::missing_parameter(name));
    let mut template = params.part("LaunchTemplate");
    let template = if template.is_empty() {
        None
    } else {
        let reference = template_reference(&mut template)?;
        let version = template.text("Version");
        template.no_more()?;
        Some((reference, version))
    };
    let request = RunRequest {
        token: params.text("ClientToken"),
        dry_run: params.dry_run()?,
        template,
        min: count(params.number("MinCount")?, "MinCount")?,
        max: count(params.number("MaxCount")?, "MaxCount")?,
        settings: launch_settings::take(&mut params)?,
    };
    params.no_more()?;
    request.settings.image_id.as_deref().map_or(Ok(()), images::check_form)?;
    let ids = call.world.run_instances(&request)?;
    call.touched.extend(ids.iter().cloned());
    let instances: Vec<&Instance> = ids.iter().filter_map(|id| call.world.instance(id).ok()).collect();
    let mut xml = Xml::new();
    instance_xml::write_reservation(&mut xml, call, &instances);
    Ok(xml)
}

/// `TerminateInstances`: all of them or, if one does not exist, none.
pub(crate) fn terminate_instances(call: &mut Call<'_>, mut params: Params) -> Answer {
    params.boolean("Force")?;
    params.boolean("SkipOsShutdown")?;
    let ids = take_ids(call, params)?;
    let changes = call.world.terminate(&ids)?;
    Ok(write_changes(&changes))
}

/// `StartInstances`.
pub(crate) fn start_instances(call: &mut Call<'_>, params: Params) -> Answer {
    let ids = take_ids(call, params)?;
    let changes = call.world.start(&ids)?;
    Ok(write_changes(&changes))
}

/// `StopInstances`.
pub(crate) fn stop_instances(call: &mut Call<'_>, mut params: Params) -> Answer {
    params.boolean("Force")?;
    params.boolean("SkipOsShutdown")?;
    params.one_of("Hibernate", &[("false", ())])?;
    let ids = take_ids(call, params)?;
    let changes = call.world.stop(&ids)?;
    Ok(write_changes(&changes))
}

/// `RebootInstances`: machines that exist stay what they are.
pub(crate) fn reboot_instances(call: &mut Call<'_>, params: Params) -> Answer {
    take_ids(call, params)?;
    Ok(returned_true())
}

/// Takes and checks the ids of a call that changes instances, and ends the reading: what exists is known before a dry run
/// is answered.
fn take_ids(call: &mut Call<'_>, mut params: Params) -> Result<Vec<String>, Refusal> {
    let ids = params.texts("InstanceId")?;
    if ids.is_empty() {
        return Err(Refusal::missing_parameter("InstanceId"));
    }
    check_ids(&ids)?;
    find(call, &ids.iter().cloned().collect())?;
    params.finish()?;
    call.touched.extend(ids.iter().cloned());
    Ok(ids)
}

fn write_changes(changes: &[StateChange]) -> Xml {
    let mut xml = Xml::new();
    xml.items("instancesSet", changes, |xml, change| {
        xml.text("instanceId", &change.instance_id);
        instance_xml::write_state(xml, "currentState", change.current);
        instance_xml::write_state(xml, "previousState", change.previous);
    });
    xml
}

/// How long the checks of a machine take after it began to run.
const CHECKS_TAKE: jiff::SignedDuration = jiff::SignedDuration::from_mins(2);

/// How an instance does, at a time.
struct Status<'i>(&'i Instance, jiff::Timestamp);

impl Status<'_> {
    /// Of a check, or of the disks, which are always well.
    fn word(&self, check: Option<Check>) -> &'static str {
        match (self.0.state, self.0.impairment) {
            (InstanceState::Running, Some(impairment)) if Some(impairment.check) == check => "impaired",
            (InstanceState::Running, _) if self.1 < self.0.state_since + CHECKS_TAKE && check.is_some() => {
                "initializing"
            }
            (InstanceState::Running, _) => "ok",
            _ => "not-applicable",
        }
    }

    fn check_named(name: &str) -> Option<Check> {
        match name {
            "instanceStatus" => Some(Check::Instance),
            "systemStatus" => Some(Check::System),
            _ => None,
        }
    }

    fn reachability(&self, check: Option<Check>) -> &'static str {
        match self.word(check) {
            "impaired" => "failed",
            "initializing" => "initializing",
            _ => "passed",
        }
    }
}

/// `GetConsoleOutput`: what a machine said when it booted.
pub(crate) fn get_console_output(call: &Call<'_>, mut params: Params) -> Answer {
    let id = params.required("InstanceId")?;
    params.boolean("Latest")?;
    check_ids(std::slice::from_ref(&id))?;
    let instance = call.world.instance(&id)?;
    params.finish()?;
    let said = match instance.state {
        InstanceState::Pending => String::new(),
        _ => format!(
            "{} booted {} from {}\n",
            instance.private_dns_name,
            id,
            instance.settings.image_id.as_deref().unwrap_or("")
        ),
    };
    let mut xml = Xml::new();
    xml.text("instanceId", &id);
    xml.time("timestamp", instance.state_since);
    xml.text("output", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, said));
    Ok(xml)
}

fn write_status(xml: &mut Xml, status: &Status<'_>) {
    let instance = status.0;
    xml.text("instanceId", &instance.id);
    xml.text("availabilityZone", instance.zone.name);
    xml.text("availabilityZoneId", instance.zone.id);
    instance_xml::write_state(xml, "instanceState", instance.state);
    for name in ["instanceStatus", "systemStatus", "attachedEbsStatus"] {
        xml.node(name, |xml| {
            let check = Status::check_named(name);
            xml.text("status", status.word(check));
            if instance.state == InstanceState::Running {
                xml.items("details", ["reachability"], |xml, reachability| {
                    xml.text("name", reachability);
                    xml.text("status", status.reachability(check));
                    if let Some(failing) = instance.impairment.filter(|each| Some(each.check) == check) {
                        xml.time("impairedSince", failing.since);
                    }
                });
            }
        });
    }
    if let Some(scheduled) = instance.scheduled {
        xml.items("eventsSet", [scheduled], |xml, scheduled| {
            xml.text("instanceEventId", format!("instance-event-{}", instance.id.trim_start_matches("i-")));
            xml.text("code", scheduled.code.as_str());
            xml.text("description", format!("The instance is scheduled for {}", scheduled.code.as_str()));
            xml.time("notBefore", scheduled.not_before);
        });
    }
}

impl Filterable for Status<'_> {
    const NAMES: &'static [&'static str] = &[
        "attached-ebs-status.status",
        "availability-zone",
        "availability-zone-id",
        "event.code",
        "event.description",
        "event.instance-event-id",
        "event.not-after",
        "event.not-before",
        "event.not-before-deadline",
        "instance-state-code",
        "instance-state-name",
        "instance-status.reachability",
        "instance-status.status",
        "operator.managed",
        "operator.principal",
        "system-status.reachability",
        "system-status.status",
    ];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        let running = self.0.state == InstanceState::Running;
        match name {
            "availability-zone" => vec![self.0.zone.name.into()],
            "availability-zone-id" => vec![self.0.zone.id.into()],
            "instance-state-code" => vec![self.0.state.code().to_string().into()],
            "instance-state-name" => vec![self.0.state.as_str().into()],
            "attached-ebs-status.status" => vec![self.word(None).into()],
            "instance-status.status" => vec![self.word(Some(Check::Instance)).into()],
            "system-status.status" => vec![self.word(Some(Check::System)).into()],
            "instance-status.reachability" if running => vec![self.reachability(Some(Check::Instance)).into()],
            "system-status.reachability" if running => vec![self.reachability(Some(Check::System)).into()],
            "event.code" => self.0.scheduled.iter().map(|each| each.code.as_str().into()).collect(),
            "event.not-before" => {
                self.0.scheduled.iter().map(|each| super::xml::iso_8601(each.not_before).into()).collect()
            }
            "operator.managed" => vec!["false".into()],
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        None
    }
}
