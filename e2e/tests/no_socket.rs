//! A run in virtual time opens no socket. The kernel says so: it ends the process that tries, by a seccomp filter.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "clippy takes only the test functions themselves for tests, not their helpers")]

use sawhorse_e2e::{run::in_virtual_time, scenario::load};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
use std::{collections::BTreeMap, env::consts::ARCH, fs, io::ErrorKind, net::TcpListener, thread, time::Duration};

/// Numbers of the system calls `socket` and `socketpair`.
const SOCKETS: [i64; 2] = if cfg!(target_arch = "x86_64") { [41, 53] } else { [198, 199] };

/// From here on this thread, and those that it starts, meet `action` where they ask for a socket.
fn on_socket(action: SeccompAction) {
    let rules = BTreeMap::from(SOCKETS.map(|call| (call, Vec::new())));
    let arch = TargetArch::try_from(ARCH).unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    apply_filter(&program).unwrap();
}

#[test]
fn the_filter_sees_sockets() {
    let refused = thread::spawn(|| {
        on_socket(SeccompAction::Errno(1));
        TcpListener::bind("127.0.0.1:0").unwrap_err().kind()
    });
    assert_eq!(refused.join().unwrap(), ErrorKind::PermissionDenied);
}

#[test]
fn a_run_in_virtual_time_opens_none() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/a-killed-controller-adopts-its-machine.yaml");
    let scenario = load(&fs::read_to_string(file).unwrap()).unwrap();
    let run = thread::spawn(move || {
        on_socket(SeccompAction::KillProcess);
        in_virtual_time(&scenario, None, &|_| {}, || Duration::ZERO).unwrap()
    });
    assert_eq!(run.join().unwrap().summary.failure, None);
}
