//! The instance types of the problems: 710 of EC2's (`data/ec2-types.json.gz`, see this crate's README), and variations of them
//! where more are wanted.

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::Read, sync::LazyLock};

static EC2: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut text = String::new();
    let packed: &[u8] = include_bytes!("../data/ec2-types.json.gz");
    GzDecoder::new(packed).read_to_string(&mut text).expect("the file is packed text");
    serde_json::from_str(&text).expect("the file is a list of instance types")
});

/// All 710.
pub(crate) fn ec2() -> &'static [Value] {
    &EC2
}

/// So many types: a regular sample of the 710, or, beyond that, the same once more under other names and at other prices.
pub(crate) fn of_size(count: usize) -> Vec<Value> {
    let all = ec2();
    if count <= all.len() {
        return (0..count).map(|index| all[index * all.len() / count].clone()).collect();
    }
    let again = all.iter().cycle().take(count - all.len()).enumerate().map(|(index, kind)| varied(kind, index));
    all.iter().cloned().chain(again).collect()
}

/// The same machine as another family of up to a fifth dearer or cheaper.
fn varied(kind: &Value, index: usize) -> Value {
    let mut kind = kind.clone();
    let round = index / ec2().len();
    let (family, size) = name(&kind).split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap_or_default();
    let family = format!("{family}-v{round}");
    kind["name"] = json!(format!("{family}.{size}"));
    for requirement in kind["requirements"].as_array_mut().into_iter().flatten() {
        if requirement["key"] == "karpenter.k8s.aws/instance-family" {
            requirement["values"] = json!([family]);
        }
    }
    let permille = 800 + (index * 37 % 400) as u64;
    for offering in kind["offerings"].as_array_mut().into_iter().flatten() {
        let nanos = (offering["price"].as_f64().unwrap_or_default() * 1e6).round() as u64 * permille / 1000;
        offering["price"] = json!(nanos as f64 / 1e6);
    }
    kind
}

pub(crate) fn name(kind: &Value) -> &str {
    kind["name"].as_str().unwrap_or_default()
}

/// The labels that each machine of the type has.
pub(crate) fn labels(kind: &Value) -> BTreeMap<String, String> {
    let stated = kind["requirements"].as_array().into_iter().flatten().filter(|own| own["operator"] == "In");
    let label = |own: &Value| Some((own["key"].as_str()?.to_owned(), own["values"][0].as_str()?.to_owned()));
    stated.filter_map(label).collect()
}

/// CPU in thousandths and memory in MiB that pods may use.
pub(crate) fn allocatable(kind: &Value) -> (u64, u64) {
    let overhead = |of: &str, name: &str| kind["overhead"][of][name].as_str().map_or(0, amount);
    let left = |name: &str| {
        let capacity = kind["capacity"][name].as_str().map_or(0, amount);
        let reserved = ["kubeReserved", "systemReserved", "evictionThreshold"].map(|of| overhead(of, name));
        capacity.saturating_sub(reserved.into_iter().sum())
    };
    (left("cpu"), left("memory"))
}

/// `190m` and `2` as thousandths, `893Mi` and `20Gi` as MiB: all that the file has.
fn amount(text: &str) -> u64 {
    let number = |digits: &str| digits.parse::<u64>().unwrap_or(0);
    if let Some(digits) = text.strip_suffix("Mi") {
        number(digits)
    } else if let Some(digits) = text.strip_suffix("Gi") {
        number(digits) * 1024
    } else if let Some(digits) = text.strip_suffix('m') {
        number(digits)
    } else {
        number(text) * 1000
    }
}
