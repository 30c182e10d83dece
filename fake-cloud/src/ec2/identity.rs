//! Who is calling and which cluster it is about: STS `GetCallerIdentity`, EKS `DescribeCluster`.

use super::{Answer, Call, JsonAnswer, error::Refusal, query::Params, xml::Xml};
use http::StatusCode;
use sawhorse_ambient::Seed;
use serde_json::json;

/// The range of service addresses that EKS chooses for a VPC in 10.0.0.0/8.
const SERVICE_CIDR: &str = "172.20.0.0/16";

/// STS `GetCallerIdentity`.
pub(crate) fn get_caller_identity(call: &Call<'_>, params: Params) -> Answer {
    params.no_more()?;
    let mut xml = Xml::new();
    xml.text("Arn", call.caller_arn());
    xml.text("UserId", Seed(0).stream(&["user", call.account()]).text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 21));
    xml.text("Account", call.account());
    Ok(xml)
}

/// EKS `DescribeCluster`: the cluster whose discovery tag the network carries. Its endpoint is what the cloud can know of
/// it: a name, not the address of an API server.
pub(crate) fn describe_cluster(call: &Call<'_>, name: &str) -> JsonAnswer {
    let world = &call.world;
    if name != world.cluster() {
        let text = format!("No cluster found for name: {name}.");
        return Err(Refusal::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", text));
    }
    let (region, account) = (world.region(), call.account());
    let subnets: Vec<&str> = world.subnets().iter().map(|subnet| subnet.id.as_str()).collect();
    Ok(json!({"cluster": {
        "name": name,
        "arn": format!("arn:aws:eks:{region}:{account}:cluster/{name}"),
        "version": latest_kubernetes(call),
        "endpoint": format!("https://{}.gr7.{region}.eks.amazonaws.com", Seed(0).stream(&["cluster", name]).hex(32).to_uppercase()),
        "roleArn": format!("arn:aws:iam::{account}:role/{name}-cluster"),
        "status": "ACTIVE",
        "kubernetesNetworkConfig": {"serviceIpv4Cidr": SERVICE_CIDR, "ipFamily": "ipv4"},
        "resourcesVpcConfig": {"subnetIds": subnets, "vpcId": world.vpc().id},
        "tags": {},
    }}))
}

/// EKS `ListClusters`: the one cluster.
pub(crate) fn list_clusters(call: &Call<'_>) -> JsonAnswer {
    Ok(json!({"clusters": [call.world.cluster()]}))
}

/// ARC's zonal shifts of the cluster: none is under way.
pub(crate) fn get_managed_resource(call: &Call<'_>, arn: &str) -> JsonAnswer {
    let (region, account, cluster) = (call.world.region(), call.account(), call.world.cluster());
    if arn != format!("arn:aws:eks:{region}:{account}:cluster/{cluster}") {
        let text = format!("The resource {arn} is not managed.");
        return Err(Refusal::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", text));
    }
    let zones: serde_json::Map<String, serde_json::Value> =
        call.world.zones().iter().map(|zone| (zone.id.to_owned(), json!(1.0))).collect();
    Ok(json!({"arn": arn, "name": cluster, "appliedWeights": zones, "zonalShifts": [], "autoshifts": []}))
}

/// The newest Kubernetes that images are published for.
fn latest_kubernetes(call: &Call<'_>) -> String {
    let minor = |name: &str| name.strip_prefix(IMAGES_OF_KUBERNETES_1)?.split('/').next()?.parse::<u32>().ok();
    let newest = call.world.parameters().filter_map(|(name, _)| minor(name)).max();
    newest.map_or_else(String::new, |minor| format!("1.{minor}"))
}

const IMAGES_OF_KUBERNETES_1: &str = "/aws/service/eks/optimized-ami/1.";
