//! The addresses of nodes and pods.

use crate::stage::Addresses;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Where addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressOptions {
    /// The first pod's; each further pod has the next that is free.
    pub first_pod: Ipv4Addr,
    /// Of Nodes that have none of their own.
    pub node: Ipv4Addr,
}

impl Default for AddressOptions {
    /// Half of 10.0.0.0/8, away from where fake clouds put their machines.
    fn default() -> Self {
        Self { first_pod: Ipv4Addr::new(10, 128, 0, 1), node: Ipv4Addr::new(10, 0, 0, 1) }
    }
}

/// Which node and which pod has which address.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    options: AddressOptions,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    nodes: BTreeMap<String, String>,
    pods: BTreeMap<String, u32>,
    free: BTreeSet<u32>,
    used: u32,
}

impl AddressBook {
    pub(super) fn new(options: AddressOptions) -> Self {
        Self { options, entries: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a node's address; an empty one is that of all Nodes that have none of their own.
    pub(super) fn set_node(&self, node: &str, address: &str) {
        let address = if address.is_empty() { self.options.node.to_string() } else { address.to_owned() };
        self.lock().nodes.insert(node.to_owned(), address);
    }

    /// Gives back the address of a pod that is gone.
    pub(super) fn release_pod(&self, uid: &str) {
        let mut entries = self.lock();
        if let Some(offset) = entries.pods.remove(uid) {
            entries.free.insert(offset);
        }
    }
}

impl Addresses for AddressBook {
    fn node_ip(&self, node: &str) -> String {
        self.lock().nodes.get(node).cloned().unwrap_or_default()
    }

    fn pod_ip(&self, node: &str, host_network: bool, uid: &str, _name: &str, _namespace: &str) -> String {
        if host_network {
            return self.node_ip(node);
        }
        let mut entries = self.lock();
        let offset = entries.pods.get(uid).copied().unwrap_or_else(|| entries.allocate(uid));
        Ipv4Addr::from(u32::from(self.options.first_pod).wrapping_add(offset)).to_string()
    }
}

impl Entries {
    fn allocate(&mut self, uid: &str) -> u32 {
        let offset = self.free.pop_first().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        });
        self.pods.insert(uid.to_owned(), offset);
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::AddressBook;
    use crate::stage::Addresses;

    #[test]
    fn pods_keep_their_address_until_they_are_gone() {
        let book = AddressBook::default();
        book.set_node("n", "10.0.0.7");
        let ip = |uid: &str| book.pod_ip("n", false, uid, "", "");
        assert_eq!([ip("a"), ip("b"), ip("a")], ["10.128.0.1", "10.128.0.2", "10.128.0.1"]);
        book.release_pod("a");
        assert_eq!([ip("c"), ip("d")], ["10.128.0.1", "10.128.0.3"]);
        assert_eq!(
            (book.pod_ip("n", true, "e", "", ""), book.node_ip("other")),
            ("10.0.0.7".to_owned(), String::new())
        );
    }
}
