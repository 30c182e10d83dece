//! What this process has resident, as Linux counts it; 0 elsewhere.

use std::fs;

pub(crate) fn resident() -> u64 {
    field("VmRSS:")
}

/// The most since [`forget_peak`].
pub(crate) fn peak() -> u64 {
    field("VmHWM:")
}

/// Lets the kernel count the peak anew (proc(5)).
pub(crate) fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn field(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}
