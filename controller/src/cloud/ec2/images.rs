//! Which images a NodeClass means, and which of them fits a machine (spec aws 5.1).

use super::{
    cache::Cache,
    call::{Calls, all_pages},
    sdk::Clients,
    tags::{filter, filters},
};
use crate::cloud::CloudError;
use aws_sdk_ec2::types::Filter;
use jiff::Timestamp;
use sawhorse_core::{
    api::{Ami, AmiFamily, AmiSelectorTerm, NodeSelectorRequirementWithMinValues, RequirementOperator, labels},
    model::Requirements,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Images per page, as the reference asks for.
const PER_PAGE: i32 = 1_000;

/// What a machine must be like for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Variant {
    /// Neither GPU nor accelerator.
    Standard,
    Nvidia,
    Neuron,
    /// Any machine of the image's architecture.
    Any,
}

impl Variant {
    fn requirements(self, arch: &str) -> Vec<NodeSelectorRequirementWithMinValues> {
        let presence = |key: &str, operator| NodeSelectorRequirementWithMinValues {
            key: key.to_owned(),
            operator,
            ..Default::default()
        };
        let arch = NodeSelectorRequirementWithMinValues {
            key: labels::ARCH.to_owned(),
            operator: RequirementOperator::In,
            values: vec![arch.to_owned()],
            min_values: None,
        };
        let mut requirements = vec![arch];
        requirements.extend(match self {
            Self::Standard => vec![
                presence(labels::INSTANCE_ACCELERATOR_COUNT, RequirementOperator::DoesNotExist),
                presence(labels::INSTANCE_GPU_COUNT, RequirementOperator::DoesNotExist),
            ],
            Self::Nvidia => vec![presence(labels::INSTANCE_GPU_COUNT, RequirementOperator::Exists)],
            Self::Neuron => vec![presence(labels::INSTANCE_ACCELERATOR_COUNT, RequirementOperator::Exists)],
            Self::Any => Vec::new(),
        });
        requirements
    }
}

/// One SSM parameter of an alias and the machines that its image is for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameter {
    path: String,
    variants: Vec<Variant>,
}

/// The parameters that hold the ids of the images of `family` at `version` for Kubernetes `k8s` (`1.35`).
fn parameters(family: AmiFamily, version: &str, k8s: &str) -> Vec<Parameter> {
    match family {
        AmiFamily::AL2023 => al2023_parameters(version, k8s),
        AmiFamily::AL2 => al2_parameters(version, k8s),
        AmiFamily::Bottlerocket => bottlerocket_parameters(version, k8s),
        AmiFamily::Windows2019 => windows_parameters("2019", k8s),
        AmiFamily::Windows2022 => windows_parameters("2022", k8s),
        AmiFamily::Windows2025 => windows_parameters("2025", k8s),
        AmiFamily::Custom => Vec::new(),
    }
}

fn al2023_parameters(version: &str, k8s: &str) -> Vec<Parameter> {
    let kinds = [
        ("x86_64", "standard", Variant::Standard),
        ("x86_64", "nvidia", Variant::Nvidia),
        ("x86_64", "neuron", Variant::Neuron),
        ("arm64", "standard", Variant::Standard),
        ("arm64", "nvidia", Variant::Nvidia),
    ];
    let parameter = |(arch, kind, variant): (&str, &str, Variant)| {
        let name = match version {
            "latest" => "recommended".to_owned(),
            version => format!("amazon-eks-node-al2023-{arch}-{kind}-{k8s}-{version}"),
        };
        let path = format!("/aws/service/eks/optimized-ami/{k8s}/amazon-linux-2023/{arch}/{kind}/{name}/image_id");
        Parameter { path, variants: vec![variant] }
    };
    kinds.into_iter().map(parameter).collect()
}

fn al2_parameters(version: &str, k8s: &str) -> Vec<Parameter> {
    let kinds = [
        ("", "", vec![Variant::Standard]),
        ("-arm64", "arm64-", vec![Variant::Standard]),
        ("-gpu", "gpu-", vec![Variant::Nvidia, Variant::Neuron]),
    ];
    let parameter = |(folder, prefix, variants): (&str, &str, Vec<Variant>)| {
        let name = match version {
            "latest" => "recommended".to_owned(),
            version => format!("amazon-eks-{prefix}node-{k8s}-{version}"),
        };
        Parameter {
            path: format!("/aws/service/eks/optimized-ami/{k8s}/amazon-linux-2{folder}/{name}/image_id"),
            variants,
        }
    };
    kinds.into_iter().map(parameter).collect()
}

fn bottlerocket_parameters(version: &str, k8s: &str) -> Vec<Parameter> {
    let kinds = [
        ("", "x86_64", vec![Variant::Standard, Variant::Neuron]),
        ("", "arm64", vec![Variant::Standard]),
        ("-nvidia", "x86_64", vec![Variant::Nvidia]),
        ("-nvidia", "arm64", vec![Variant::Nvidia]),
    ];
    let version = version.strip_prefix('v').unwrap_or(version);
    let parameter = |(kind, arch, variants): (&str, &str, Vec<Variant>)| Parameter {
        path: format!("/aws/service/bottlerocket/aws-k8s-{k8s}{kind}/{arch}/{version}/image_id"),
        variants,
    };
    kinds.into_iter().map(parameter).collect()
}

fn windows_parameters(year: &str, k8s: &str) -> Vec<Parameter> {
    let name = format!("Windows_Server-{year}-English-Core-EKS_Optimized-{k8s}");
    vec![Parameter { path: format!("/aws/service/ami-windows-latest/{name}/image_id"), variants: vec![Variant::Any] }]
}

/// An image as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Image {
    id: String,
    name: String,
    /// As the node's label: `amd64` or `arm64`.
    arch: &'static str,
    /// RFC 3339, so that the order of the text is that of the times.
    created: String,
    deprecated: bool,
}

impl Image {
    fn read(image: &aws_sdk_ec2::types::Image, now: Timestamp) -> Option<Self> {
        let deprecated_since = image.deprecation_time().and_then(|text| text.parse::<Timestamp>().ok());
        Some(Self {
            id: image.image_id()?.to_owned(),
            name: image.name().unwrap_or_default().to_owned(),
            arch: match image.architecture()?.as_str() {
                "x86_64" => "amd64",
                "arm64" => "arm64",
                _ => return None,
            },
            created: image.creation_date().unwrap_or_default().to_owned(),
            deprecated: deprecated_since.is_some_and(|since| since <= now),
        })
    }

    /// What is in use comes first, then the newest, then the greater name; the id makes the order total.
    fn rank(&self) -> impl Ord + use<> {
        (self.deprecated, Reverse(self.created.clone()), Reverse(self.name.clone()), self.id.clone())
    }
}

/// The best image for each kind of machine, best first.
fn choose(mut candidates: Vec<(Image, Variant)>) -> Vec<Ami> {
    candidates.sort_by_key(|(image, variant)| (image.rank(), *variant));
    let mut served = BTreeSet::new();
    candidates.retain(|(image, variant)| served.insert((image.arch, *variant)));
    let ami = |(image, variant): (Image, Variant)| Ami {
        requirements: variant.requirements(image.arch),
        id: image.id,
        name: Some(image.name),
        deprecated: image.deprecated.then_some(true),
    };
    candidates.into_iter().map(ami).collect()
}

/// Reads images and the parameters that name them.
#[derive(Debug)]
pub(super) struct Images<'a> {
    pub(super) calls: &'a Calls,
    pub(super) clients: &'a Clients,
    /// Values of the parameters that AWS publishes; none for one that does not exist.
    pub(super) published: &'a Cache<Option<String>>,
    /// Values of parameters that users named.
    pub(super) of_users: &'a Cache<Option<String>>,
    pub(super) kubernetes_version: &'a str,
    pub(super) now: Timestamp,
}

impl Images<'_> {
    /// The images that `terms` select, best first; empty where there are none.
    pub(super) async fn resolve(&self, terms: &[AmiSelectorTerm]) -> Result<Vec<Ami>, CloudError> {
        let alias = terms.iter().find_map(|term| {
            let (family, version) = term.alias_parts()?;
            Some((AmiFamily::of_alias(family)?, version))
        });
        let candidates = match alias {
            Some((family, version)) => self.of_alias(family, version).await?,
            None => self.of_terms(terms).await?,
        };
        Ok(choose(candidates))
    }

    async fn of_alias(&self, family: AmiFamily, version: &str) -> Result<Vec<(Image, Variant)>, CloudError> {
        let mut variants: BTreeMap<String, Vec<Variant>> = BTreeMap::new();
        for parameter in parameters(family, version, self.kubernetes_version) {
            let id = self.published.get_or(&parameter.path, self.parameter(&parameter.path)).await?;
            variants.entry(id.unwrap_or_default()).or_default().extend(parameter.variants);
        }
        variants.remove("");
        if variants.is_empty() {
            return Ok(Vec::new());
        }
        let images = self.describe(&[filter("image-id", variants.keys())], &[]).await?;
        let with_variants = |image: Image| {
            let of_image = variants.get(&image.id).cloned().unwrap_or_default();
            of_image.into_iter().map(move |variant| (image.clone(), variant))
        };
        Ok(images.into_iter().flat_map(with_variants).collect())
    }

    async fn of_terms(&self, terms: &[AmiSelectorTerm]) -> Result<Vec<(Image, Variant)>, CloudError> {
        let mut ids: BTreeSet<String> = terms.iter().filter_map(|term| term.id.clone()).collect();
        for path in terms.iter().filter_map(|term| term.ssm_parameter.as_deref()) {
            let value = self.of_users.get_or(path, self.parameter(path)).await?;
            ids.extend(value.filter(|value| value.starts_with("ami-")));
        }
        let mut found = BTreeMap::new();
        for (filters, owners) in queries(&ids, terms) {
            for image in self.describe(&filters, &owners).await? {
                found.insert(image.id.clone(), image);
            }
        }
        Ok(found.into_values().map(|image| (image, Variant::Any)).collect())
    }

    async fn parameter(&self, path: &str) -> Result<Option<String>, CloudError> {
        let request = || self.clients.ssm.get_parameter().name(path).send();
        match self.calls.send("GetParameter", request).await {
            Ok(answer) => Ok(answer.parameter.and_then(|parameter| parameter.value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn describe(&self, filters: &[Filter], owners: &[String]) -> Result<Vec<Image>, CloudError> {
        let in_use = filter("state", ["available"]);
        let filters: Vec<_> = filters.iter().cloned().chain([in_use]).collect();
        let (calls, clients, now, filters) = (self.calls, self.clients, self.now, &filters);
        all_pages("DescribeImages", |token| async move {
            let request = || {
                let request = clients.ec2.describe_images().set_filters(Some(filters.clone())).include_deprecated(true);
                let owners = (!owners.is_empty()).then(|| owners.to_vec());
                request.set_owners(owners).max_results(PER_PAGE).set_next_token(token.clone()).send()
            };
            let page = calls.send("DescribeImages", request).await?;
            Ok((page.images().iter().filter_map(|image| Image::read(image, now)).collect(), page.next_token))
        })
        .await
    }
}

/// Filters and owners to ask with: one query for all ids, one for each term by name or tags.
fn queries(ids: &BTreeSet<String>, terms: &[AmiSelectorTerm]) -> Vec<(Vec<Filter>, Vec<String>)> {
    let by_id = (!ids.is_empty()).then(|| (vec![filter("image-id", ids)], Vec::new()));
    let others = terms.iter().filter(|term| term.id.is_none() && term.ssm_parameter.is_none());
    let by_term = others.map(|term| {
        let name = term.name.iter().map(|name| filter("name", [name]));
        (name.chain(filters(&term.tags)).collect::<Vec<_>>(), owners(term))
    });
    by_id.into_iter().chain(by_term).filter(|(filters, _)| !filters.is_empty()).collect()
}

/// A name alone is looked for among one's own images and Amazon's, so that nobody else's is booted by accident.
fn owners(term: &AmiSelectorTerm) -> Vec<String> {
    match (&term.owner, &term.name) {
        (Some(owner), _) => vec![owner.clone()],
        (None, Some(_)) => vec!["self".to_owned(), "amazon".to_owned()],
        (None, None) => Vec::new(),
    }
}

/// The requirements of an image as a set.
pub(super) fn requirements(ami: &Ami) -> Requirements {
    Requirements::from_specs(&ami.requirements)
}

/// The image for machines with these requirements: the first, best first, that fits.
pub(super) fn image_for<'a>(amis: &'a [Ami], machine: &Requirements) -> Option<&'a Ami> {
    amis.iter().find(|ami| requirements(ami).intersects(machine))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::ec2::fixtures::spec;
    use rstest::rstest;

    #[rstest]
    #[case::latest(AmiFamily::AL2023, "latest", &[
        "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/image_id",
        "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/nvidia/recommended/image_id",
        "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/neuron/recommended/image_id",
        "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/arm64/standard/recommended/image_id",
        "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/arm64/nvidia/recommended/image_id",
    ])]
    #[case::pinned(AmiFamily::AL2, "v20250101", &[
        "/aws/service/eks/optimized-ami/1.35/amazon-linux-2/amazon-eks-node-1.35-v20250101/image_id",
        "/aws/service/eks/optimized-ami/1.35/amazon-linux-2-arm64/amazon-eks-arm64-node-1.35-v20250101/image_id",
        "/aws/service/eks/optimized-ami/1.35/amazon-linux-2-gpu/amazon-eks-gpu-node-1.35-v20250101/image_id",
    ])]
    #[case::bottlerocket(AmiFamily::Bottlerocket, "v1.40.0", &[
        "/aws/service/bottlerocket/aws-k8s-1.35/x86_64/1.40.0/image_id",
        "/aws/service/bottlerocket/aws-k8s-1.35/arm64/1.40.0/image_id",
        "/aws/service/bottlerocket/aws-k8s-1.35-nvidia/x86_64/1.40.0/image_id",
        "/aws/service/bottlerocket/aws-k8s-1.35-nvidia/arm64/1.40.0/image_id",
    ])]
    fn where_an_alias_is_published(#[case] family: AmiFamily, #[case] version: &str, #[case] expected: &[&str]) {
        let paths: Vec<_> = parameters(family, version, "1.35").into_iter().map(|parameter| parameter.path).collect();
        assert_eq!(paths, expected);
    }

    fn image(id: &str, arch: &'static str, created: &str, deprecated: bool) -> Image {
        Image { id: id.into(), name: format!("name-{id}"), arch, created: created.into(), deprecated }
    }

    #[test]
    fn the_newest_image_in_use_is_best() {
        let amis = choose(vec![
            (image("old", "amd64", "2025-01-01T00:00:00.000Z", false), Variant::Any),
            (image("new", "amd64", "2026-01-01T00:00:00.000Z", false), Variant::Any),
            (image("withdrawn", "amd64", "2026-06-01T00:00:00.000Z", true), Variant::Any),
            (image("arm", "arm64", "2024-01-01T00:00:00.000Z", true), Variant::Any),
        ]);
        let chosen: Vec<_> = amis.iter().map(|ami| (ami.id.as_str(), ami.deprecated)).collect();
        assert_eq!(chosen, [("new", None), ("arm", Some(true))]);
    }

    #[test]
    fn an_image_may_serve_several_kinds() {
        let x86 = image("x", "amd64", "2026-01-01T00:00:00.000Z", false);
        let amis = choose(vec![(x86.clone(), Variant::Neuron), (x86, Variant::Standard)]);
        assert_eq!(amis.iter().map(|ami| ami.requirements.len()).collect::<Vec<_>>(), [3, 2]);
    }

    #[test]
    fn terms_become_queries() {
        let spec = spec(
            "{amiSelectorTerms: [{id: ami-2}, {name: 'my-*'}, {tags: {a: b}, owner: '111122223333'}, {id: ami-1}]}",
        );
        let ids = spec.ami_selector_terms.iter().filter_map(|term| term.id.clone()).collect();
        assert_eq!(
            queries(&ids, &spec.ami_selector_terms),
            [
                (vec![filter("image-id", ["ami-1", "ami-2"])], vec![]),
                (vec![filter("name", ["my-*"])], vec!["self".to_owned(), "amazon".to_owned()]),
                (vec![filter("tag:a", ["b"])], vec!["111122223333".to_owned()]),
            ]
        );
    }
}
