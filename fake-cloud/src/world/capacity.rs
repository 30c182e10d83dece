//! Finite capacity: how many machines a pool (type × zone × market) can hold.

use super::{Market, TypeIndex};
use sawhorse_ambient::Seed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many machines of the account a pool can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "`unlimited`, a number, or {min: …, max: …}")]
pub enum Capacity {
    /// As many as anybody wants.
    #[default]
    #[serde(with = "unlimited")]
    Unlimited,
    /// So many.
    Count(u32),
    /// A number drawn per pool from the seed.
    Drawn {
        /// At least.
        min: u32,
        /// At most.
        max: u32,
    },
}

/// `unlimited`, as a text.
mod unlimited {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("unlimited")
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "unlimited" => Ok(()),
            other => Err(D::Error::custom(format!("`{other}` is no capacity"))),
        }
    }
}

/// A pool's key; `zone` is an index into the world's zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PoolKey {
    pub(crate) type_index: TypeIndex,
    pub(crate) zone: usize,
    pub(crate) market: Market,
}

/// All pools. A pool that nobody set or used takes no memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pools {
    default: Capacity,
    set: BTreeMap<PoolKey, Capacity>,
    in_use: BTreeMap<PoolKey, u32>,
}

impl Pools {
    pub(crate) fn new(default: Capacity) -> Self {
        Self { default, ..Self::default() }
    }

    pub(crate) fn default_capacity(&self) -> Capacity {
        self.default
    }

    pub(crate) fn set(&mut self, key: PoolKey, capacity: Capacity) {
        self.set.insert(key, capacity);
    }

    pub(crate) fn in_use(&self, key: PoolKey) -> u32 {
        self.in_use.get(&key).copied().unwrap_or(0)
    }

    /// How many machines the pool can hold; `None` is no limit. `name` is the path of the pool's draw.
    pub(crate) fn limit(&self, key: PoolKey, seed: Seed, name: [&str; 2]) -> Option<u32> {
        match self.set.get(&key).copied().unwrap_or(self.default) {
            Capacity::Unlimited => None,
            Capacity::Count(count) => Some(count),
            Capacity::Drawn { min, max } => {
                let mut stream = seed.stream(&["capacity", name[0], name[1], key.market.as_str()]);
                Some(u32::try_from(stream.between(u64::from(min), u64::from(max))).unwrap_or(max))
            }
        }
    }

    pub(crate) fn take(&mut self, key: PoolKey) {
        *self.in_use.entry(key).or_default() += 1;
    }

    pub(crate) fn give_back(&mut self, key: PoolKey) {
        if let Some(count) = self.in_use.get_mut(&key) {
            *count = count.checked_sub(1).expect("a pool gets back only what it gave");
        }
    }

    pub(crate) fn used(&self) -> impl Iterator<Item = (PoolKey, u32)> {
        self.in_use.iter().filter(|(_, count)| **count > 0).map(|(key, count)| (*key, *count))
    }
}
