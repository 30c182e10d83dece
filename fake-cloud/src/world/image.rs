//! Machine images and the parameters under which the vendor publishes their ids.

use super::Tags;
use jiff::Timestamp;
use sawhorse_ambient::Seed;
use std::collections::BTreeMap;

/// A machine image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// E.g. `ami-0123456789abcdef0`.
    pub id: String,
    /// E.g. `amazon-eks-node-al2023-x86_64-standard-1.35-v20260720`.
    pub name: String,
    /// `x86_64` or `arm64`.
    pub architecture: &'static str,
    /// `al2023`, `al2`, `bottlerocket`, `windows2022`, …
    pub family: &'static str,
    /// When it was made.
    pub created: Timestamp,
    /// From when on the vendor advises against it.
    pub deprecated: Option<Timestamp>,
    /// Account of the owner.
    pub owner_id: &'static str,
    /// Alias of the owner.
    pub owner_alias: &'static str,
    /// E.g. `/dev/xvda`.
    pub root_device: &'static str,
    /// `windows`, or `None` for Linux.
    pub platform: Option<&'static str>,
    /// Its tags.
    pub tags: Tags,
}

/// Images and parameters of a region.
#[derive(Clone, Debug, Default)]
pub(crate) struct Images {
    /// By id.
    pub(crate) images: BTreeMap<String, Image>,
    /// Values by parameter name.
    pub(crate) parameters: BTreeMap<String, String>,
}

const OWNER_ID: &str = "602401143452";
const OWNER_ALIAS: &str = "amazon";
/// The last Kubernetes minor version with Amazon Linux 2 images.
const LAST_AL2_MINOR: u32 = 32;

/// A published version of all images: the version's text and day, oldest first. The last is what `latest` points to.
struct Release {
    linux: &'static str,
    bottlerocket: &'static str,
    created: &'static str,
}

const RELEASES: [Release; 2] = [
    Release { linux: "v20260615", bottlerocket: "1.60.0", created: "2026-06-15T00:00:00Z" },
    Release { linux: "v20260720", bottlerocket: "1.62.0", created: "2026-07-20T00:00:00Z" },
];

impl Images {
    /// The images of a region for Kubernetes 1.`first` to 1.`last`, in two releases each.
    pub(crate) fn published(region: &str, minors: std::ops::RangeInclusive<u32>) -> Self {
        let mut images = Self::default();
        for minor in minors {
            for (release, latest) in RELEASES.iter().zip([false, true]) {
                images.publish_al2023(region, minor, release, latest);
                images.publish_bottlerocket(region, minor, release, latest);
                if minor <= LAST_AL2_MINOR {
                    images.publish_al2(region, minor, release, latest);
                }
                if latest {
                    images.publish_windows(region, minor, release);
                }
            }
        }
        images
    }

    fn publish_al2023(&mut self, region: &str, minor: u32, release: &Release, latest: bool) {
        let variants = [
            ("x86_64", "standard"),
            ("arm64", "standard"),
            ("x86_64", "nvidia"),
            ("arm64", "nvidia"),
            ("x86_64", "neuron"),
        ];
        for (architecture, variant) in variants {
            let name = format!("amazon-eks-node-al2023-{architecture}-{variant}-1.{minor}-{}", release.linux);
            let base = format!("/aws/service/eks/optimized-ami/1.{minor}/amazon-linux-2023/{architecture}/{variant}");
            let pinned = format!("{base}/{name}/image_id");
            let paths = [pinned, format!("{base}/recommended/image_id")];
            self.publish(region, ("al2023", architecture, "/dev/xvda", None), name, release, &paths[..count(latest)]);
        }
    }

    fn publish_al2(&mut self, region: &str, minor: u32, release: &Release, latest: bool) {
        for (architecture, suffix, middle) in
            [("x86_64", "", ""), ("arm64", "-arm64", "arm64-"), ("x86_64", "-gpu", "gpu-")]
        {
            let name = format!("amazon-eks-{middle}node-1.{minor}-{}", release.linux);
            let base = format!("/aws/service/eks/optimized-ami/1.{minor}/amazon-linux-2{suffix}");
            let paths = [format!("{base}/{name}/image_id"), format!("{base}/recommended/image_id")];
            self.publish(region, ("al2", architecture, "/dev/xvda", None), name, release, &paths[..count(latest)]);
        }
    }

    fn publish_bottlerocket(&mut self, region: &str, minor: u32, release: &Release, latest: bool) {
        for (architecture, variant) in [("x86_64", ""), ("arm64", ""), ("x86_64", "-nvidia"), ("arm64", "-nvidia")] {
            let version = release.bottlerocket;
            let name = format!("bottlerocket-aws-k8s-1.{minor}{variant}-{architecture}-v{version}");
            let base = format!("/aws/service/bottlerocket/aws-k8s-1.{minor}{variant}/{architecture}");
            let paths = [format!("{base}/{version}/image_id"), format!("{base}/latest/image_id")];
            self.publish(
                region,
                ("bottlerocket", architecture, "/dev/xvda", None),
                name,
                release,
                &paths[..count(latest)],
            );
        }
    }

    fn publish_windows(&mut self, region: &str, minor: u32, release: &Release) {
        for (family, year) in [("windows2019", 2019), ("windows2022", 2022), ("windows2025", 2025)] {
            let name = format!("Windows_Server-{year}-English-Core-EKS_Optimized-1.{minor}-{}", release.linux);
            let path = format!(
                "/aws/service/ami-windows-latest/Windows_Server-{year}-English-Core-EKS_Optimized-1.{minor}/image_id"
            );
            self.publish(region, (family, "x86_64", "/dev/sda1", Some("windows")), name, release, &[path]);
        }
    }

    /// Adds an image. Its id depends on region and name only, not on the seed: it is the vendor's, not the run's.
    fn publish(
        &mut self,
        region: &str,
        (family, architecture, root_device, platform): (&'static str, &'static str, &'static str, Option<&'static str>),
        name: String,
        release: &Release,
        paths: &[String],
    ) {
        let id = format!("ami-0{}", Seed(0).stream(&["image", region, &name]).hex(16));
        for path in paths {
            self.parameters.insert(path.clone(), id.clone());
        }
        let image = Image {
            id: id.clone(),
            name,
            architecture,
            family,
            created: release.created.parse().expect("the release days are well-formed"),
            deprecated: None,
            owner_id: OWNER_ID,
            owner_alias: OWNER_ALIAS,
            root_device,
            platform,
            tags: Tags::new(),
        };
        self.images.insert(id, image);
    }
}

/// How many of the two paths (pinned, latest) a release is published under.
fn count(latest: bool) -> usize {
    if latest { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::Images;

    #[test]
    fn the_published_paths_lead_to_images() {
        let images = Images::published("us-west-2", 32..=35);
        for path in [
            "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/arm64/nvidia/recommended/image_id",
            "/aws/service/eks/optimized-ami/1.32/amazon-linux-2-gpu/recommended/image_id",
            "/aws/service/bottlerocket/aws-k8s-1.35-nvidia/x86_64/latest/image_id",
            "/aws/service/bottlerocket/aws-k8s-1.35/arm64/1.60.0/image_id",
            "/aws/service/ami-windows-latest/Windows_Server-2022-English-Core-EKS_Optimized-1.35/image_id",
        ] {
            assert!(images.images.contains_key(&images.parameters[path]), "{path}");
        }
        let al2 = "/aws/service/eks/optimized-ami/1.33/amazon-linux-2/recommended/image_id";
        assert!(!images.parameters.contains_key(al2));
    }

    #[test]
    fn latest_is_the_newest() {
        let images = Images::published("us-west-2", 35..=35);
        let path = "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/image_id";
        assert!(images.images[&images.parameters[path]].name.ends_with("v20260720"));
    }
}
