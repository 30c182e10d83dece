//! vCPU quotas of the account, by class of machine types and market.

use super::{MachineType, Market};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Classes of machine types that share a quota (EC2 service quotas).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuotaClass {
    /// A, C, D, H, I, M, R, T, Z.
    Standard,
    /// F.
    F,
    /// G and VT.
    G,
    /// P.
    P,
    /// X.
    X,
    /// Inf.
    Inf,
    /// Trn.
    Trn,
    /// DL.
    Dl,
    /// High memory (u-, u7).
    HighMemory,
    /// HPC.
    Hpc,
    /// Mac: dedicated hosts have their own quotas.
    Mac,
}

impl QuotaClass {
    /// The class of a type: by the letters its family begins with.
    pub fn of(machine_type: &MachineType) -> Self {
        let family = machine_type.family();
        let letters = family.find(|character: char| !character.is_ascii_lowercase()).unwrap_or(family.len());
        match &family[..letters] {
            "f" => Self::F,
            "g" | "gr" | "vt" => Self::G,
            "p" => Self::P,
            "x" => Self::X,
            "inf" => Self::Inf,
            "trn" => Self::Trn,
            "dl" => Self::Dl,
            "u" => Self::HighMemory,
            "hpc" => Self::Hpc,
            "mac" => Self::Mac,
            _ => Self::Standard,
        }
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::F => "f",
            Self::G => "g",
            Self::P => "p",
            Self::X => "x",
            Self::Inf => "inf",
            Self::Trn => "trn",
            Self::Dl => "dl",
            Self::HighMemory => "high-memory",
            Self::Hpc => "hpc",
            Self::Mac => "mac",
        }
    }
}

impl std::fmt::Display for QuotaClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A quota as a script writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuotaRule {
    /// The class.
    pub class: QuotaClass,
    /// The market.
    pub capacity_type: Market,
    /// vCPUs of pending and running machines together; no limit if not given.
    #[serde(default)]
    pub vcpus: Option<u32>,
}

/// Limits and use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quotas {
    limits: BTreeMap<(QuotaClass, Market), u32>,
    used: BTreeMap<(QuotaClass, Market), u32>,
}

impl Quotas {
    pub(crate) fn set(&mut self, rule: QuotaRule) {
        match rule.vcpus {
            Some(vcpus) => self.limits.insert((rule.class, rule.capacity_type), vcpus),
            None => self.limits.remove(&(rule.class, rule.capacity_type)),
        };
    }

    /// The limit that one machine more would exceed.
    pub(crate) fn exceeded_by(&self, machine_type: &MachineType, market: Market) -> Option<u32> {
        self.exceeded_by_many(machine_type, market, 1)
    }

    /// The limit that `count` machines more would exceed.
    pub(crate) fn exceeded_by_many(&self, machine_type: &MachineType, market: Market, count: u32) -> Option<u32> {
        let key = (QuotaClass::of(machine_type), market);
        let limit = self.limits.get(&key).copied()?;
        let used = self.used.get(&key).copied().unwrap_or(0);
        (used.saturating_add(machine_type.cpu.vcpus.saturating_mul(count)) > limit).then_some(limit)
    }

    pub(crate) fn take(&mut self, machine_type: &MachineType, market: Market) {
        *self.used.entry((QuotaClass::of(machine_type), market)).or_default() += machine_type.cpu.vcpus;
    }

    pub(crate) fn give_back(&mut self, machine_type: &MachineType, market: Market) {
        if let Some(used) = self.used.get_mut(&(QuotaClass::of(machine_type), market)) {
            *used = used.checked_sub(machine_type.cpu.vcpus).expect("a quota gets back only what it gave");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::QuotaClass;
    use crate::world::Catalogue;
    use rstest::rstest;

    #[rstest]
    #[case("m5.large", "standard")]
    #[case("p5.48xlarge", "p")]
    #[case("gr6.4xlarge", "g")]
    #[case("u7i-12tb.224xlarge", "high-memory")]
    #[case("trn2.48xlarge", "trn")]
    #[case("hpc7g.4xlarge", "hpc")]
    #[case("x2gd.medium", "x")]
    #[case("is4gen.large", "standard")]
    fn families_have_classes(#[case] name: &str, #[case] class: &str) {
        let catalogue = Catalogue::embedded();
        assert_eq!(QuotaClass::of(catalogue.machine_type(name).unwrap()).as_str(), class);
    }
}
