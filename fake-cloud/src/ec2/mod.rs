//! The doors that speak AWS: EC2, IAM and STS (Query/XML), SQS, SSM and Pricing (JSON), EKS and ARC (REST).
//!
//! A door translates and holds no rules: parameters become a request to the [`World`], its answer becomes XML or JSON, its
//! refusal a code. One port serves all services; `door` tells them apart and takes the fault rules into account.
//!
//! Reading order: `door` (a request's way) · `query` (parameters), `filter`, `page` (what all describing calls share) ·
//! `xml`, `error`, `codes` (answers and refusals) · one file per family of operations.

mod attachments;
mod codes;
pub(crate) mod door;
mod error;
mod event_json;
mod filter;
mod fleet;
mod fleets;
mod iam;
mod identity;
mod images;
mod instance_xml;
mod instances;
mod launch_settings;
mod launch_settings_xml;
mod launch_templates;
mod machine_type_xml;
mod machine_types;
mod network;
mod offerings;
mod page;
mod placement_groups;
mod pricing;
mod query;
mod reservations;
mod sqs;
mod ssm;
mod tags;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod tests_fuzz;
#[cfg(test)]
mod tests_reference;
#[cfg(test)]
mod tests_services;
mod versions;
mod xml;

use crate::world::World;
use error::Refusal;
use query::Params;
use serde_json::Value;
use xml::Xml;

/// What an XML operation says: the content of its answer.
type Answer = Result<Xml, Refusal>;

/// What a JSON operation says: its answer.
type JsonAnswer = Result<Value, Refusal>;

/// A call in progress.
struct Call<'a> {
    /// The world, at the time of the call.
    world: &'a mut World,
    /// The operation's name.
    action: &'a str,
    /// How the caller reached this door: scheme and host of URLs that lead back here.
    base_url: &'a str,
    /// Ids that the call made or changed, for the audit trail.
    touched: Vec<String>,
}

impl Call<'_> {
    /// The account's number.
    fn account(&self) -> &str {
        self.world.account_id()
    }

    /// Who calls: everybody is the same user.
    fn caller_arn(&self) -> String {
        format!("arn:aws:iam::{}:user/sawhorse", self.account())
    }

    /// The ARN of a resource of EC2.
    fn arn(&self, kind: &str, id: &str) -> String {
        format!("arn:aws:ec2:{}:{}:{kind}/{id}", self.world.region(), self.account())
    }

    /// The URL of a queue.
    fn queue_url(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.base_url, self.account())
    }

    /// The name of a security group.
    fn group_name(&self, id: &str) -> Option<&str> {
        self.world.security_group(id).map(|group| group.name.as_str())
    }
}

/// Carries out an operation of EC2.
fn ec2(call: &mut Call<'_>, params: Params) -> Answer {
    match call.action {
        "CancelCapacityReservation" => reservations::cancel(call, params),
        "CancelSpotInstanceRequests" => fleets::cancel_spot_requests(call, params),
        "CreateCapacityReservation" => reservations::create(call, params),
        "CreateFleet" => fleet::create_fleet(call, params),
        "CreateInterruptibleCapacityReservationAllocation" => reservations::lend(call, params),
        "CreateLaunchTemplate" => launch_templates::create_launch_template(call, params),
        "CreateLaunchTemplateVersion" => versions::create(call, params),
        "CreatePlacementGroup" => placement_groups::create(call, params),
        "CreateTags" => tags::create_tags(call, params),
        "DeleteFleets" => fleets::delete(call, params),
        "DeleteLaunchTemplate" => launch_templates::delete_launch_template(call, params),
        "DeleteLaunchTemplateVersions" => versions::delete(call, params),
        "DeletePlacementGroup" => placement_groups::delete(call, params),
        "DeleteTags" => tags::delete_tags(call, params),
        "DescribeAvailabilityZones" => network::describe_availability_zones(call, params),
        "DescribeCapacityBlockOfferings" => reservations::describe_offers(call, params),
        "DescribeCapacityReservations" => reservations::describe(call, params),
        "DescribeFleetInstances" => fleets::describe_instances(call, params),
        "DescribeFleets" => fleets::describe(call, params),
        "DescribeImages" => images::describe_images(call, params),
        "DescribeInstanceStatus" => instances::describe_instance_status(call, params),
        "DescribeInstanceTypeOfferings" => offerings::describe_instance_type_offerings(call, params),
        "DescribeInstanceTypes" => machine_types::describe_instance_types(call, params),
        "DescribeInstances" => instances::describe_instances(call, params),
        "DescribeLaunchTemplateVersions" => launch_templates::describe_launch_template_versions(call, params),
        "DescribeLaunchTemplates" => launch_templates::describe_launch_templates(call, params),
        "DescribeNetworkInterfaces" => attachments::describe_network_interfaces(call, params),
        "DescribePlacementGroups" => placement_groups::describe(call, params),
        "DescribeRegions" => network::describe_regions(call, params),
        "DescribeSecurityGroups" => network::describe_security_groups(call, params),
        "DescribeSpotInstanceRequests" => fleets::describe_spot_requests(call, params),
        "DescribeSpotPriceHistory" => offerings::describe_spot_price_history(call, params),
        "DescribeSubnets" => network::describe_subnets(call, params),
        "DescribeTags" => tags::describe_tags(call, params),
        "DescribeVolumes" => attachments::describe_volumes(call, params),
        "DescribeVpcs" => network::describe_vpcs(call, params),
        "GetConsoleOutput" => instances::get_console_output(call, params),
        "GetSpotPlacementScores" => fleets::spot_placement_scores(call, params),
        "ModifyCapacityReservation" => reservations::modify(call, params),
        "ModifyLaunchTemplate" => versions::modify(call, params),
        "PurchaseCapacityBlock" => reservations::purchase(call, params),
        "RebootInstances" => instances::reboot_instances(call, params),
        "RunInstances" => instances::run_instances(call, params),
        "StartInstances" => instances::start_instances(call, params),
        "StopInstances" => instances::stop_instances(call, params),
        "TerminateInstances" => instances::terminate_instances(call, params),
        "UpdateInterruptibleCapacityReservationAllocation" => reservations::change_lent(call, params),
        unknown => Err(Refusal::invalid_action(unknown)),
    }
}

/// Carries out an operation of STS.
fn sts(call: &Call<'_>, params: Params) -> Answer {
    match call.action {
        "GetCallerIdentity" => identity::get_caller_identity(call, params),
        unknown => Err(Refusal::invalid_action(unknown)),
    }
}

/// Carries out an operation of SSM.
fn ssm_operation(call: &Call<'_>, body: Value) -> JsonAnswer {
    match call.action {
        "GetParameter" => ssm::get_parameter(call, body),
        "GetParameters" => ssm::get_parameters(call, body),
        "GetParametersByPath" => ssm::get_parameters_by_path(call, body),
        unknown => Err(unknown_operation(unknown)),
    }
}

/// Carries out an operation of the price list.
fn pricing_operation(call: &Call<'_>, body: Value) -> JsonAnswer {
    match call.action {
        "GetProducts" => pricing::get_products(call, body),
        unknown => Err(unknown_operation(unknown)),
    }
}

fn unknown_operation(action: &str) -> Refusal {
    Refusal::bad("UnknownOperationException", format!("The operation {action} is not served."))
}
