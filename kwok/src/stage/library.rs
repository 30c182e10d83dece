//! The stages this project ships. Their names and behaviour are those of KWOK's public ones; the text is our own.

use super::{Stage, StageError, parse_stages};

/// The files, by name, in the order in which they are compiled.
const FILES: [(&str, &str); 9] = [
    ("node-initialize", include_str!("../../stages/node-initialize.yaml")),
    ("node-heartbeat", include_str!("../../stages/node-heartbeat.yaml")),
    ("node-heartbeat-with-lease", include_str!("../../stages/node-heartbeat-with-lease.yaml")),
    ("pod-ready", include_str!("../../stages/pod-ready.yaml")),
    ("pod-complete", include_str!("../../stages/pod-complete.yaml")),
    ("pod-delete", include_str!("../../stages/pod-delete.yaml")),
    ("pod-general-ready", include_str!("../../stages/pod-general-ready.yaml")),
    ("pod-general-complete", include_str!("../../stages/pod-general-complete.yaml")),
    ("pod-general-delete", include_str!("../../stages/pod-general-delete.yaml")),
];

/// Nodes and pods change state at once; nodes have leases. KWOK's `fast` set.
pub fn fast() -> Vec<Stage> {
    shipped(&["node-initialize", "node-heartbeat-with-lease", "pod-ready", "pod-complete", "pod-delete"])
}

/// Pods take time to start, to finish their work and, within their grace, to stop; annotations on a pod say how much
/// (`pod-ready|pod-complete|pod-delete.stage.kwok.x-k8s.io/delay`). After KWOK's `general` set, in fewer steps.
pub fn general() -> Vec<Stage> {
    shipped(&[
        "node-initialize",
        "node-heartbeat-with-lease",
        "pod-general-ready",
        "pod-general-complete",
        "pod-general-delete",
    ])
}

/// The same without heartbeats. A heartbeat is a write that every watcher of nodes sees, six an hour from each node; long runs
/// in virtual time do better without, since leases say the same.
pub fn without_heartbeats(mut stages: Vec<Stage>) -> Vec<Stage> {
    stages.retain(|stage| !stage.metadata.name.as_deref().unwrap_or_default().starts_with("node-heartbeat"));
    stages
}

/// The stages of one shipped file.
///
/// # Errors
/// [`StageError::Unreadable`] names the files that there are.
pub fn file(name: &str) -> Result<Vec<Stage>, StageError> {
    match FILES.iter().find(|(file, _)| *file == name) {
        Some((file, text)) => parse_stages(file, text),
        None => {
            let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
            let problem = format!("there is no such file; there are {}", names.join(", "));
            Err(StageError::Unreadable { origin: name.to_owned(), problem })
        }
    }
}

fn shipped(names: &[&str]) -> Vec<Stage> {
    names.iter().flat_map(|name| file(name).expect("shipped stages are read by a test")).collect()
}

#[cfg(test)]
mod tests {
    use super::{FILES, fast, file, general, without_heartbeats};
    use crate::stage::Lifecycle;

    #[test]
    fn every_shipped_file_compiles() {
        for (name, _) in FILES {
            let compiled = file(name).and_then(|stages| Lifecycle::compile(&stages));
            assert!(compiled.is_ok_and(|lifecycle| lifecycle.kinds().count() == 1), "{name}");
        }
    }

    #[test]
    fn sets_compile_and_unknown_files_are_named() {
        assert!(Lifecycle::compile(&fast()).is_ok() && Lifecycle::compile(&general()).is_ok());
        assert_eq!(without_heartbeats(fast()).len(), fast().len() - 1);
        assert!(file("pod-redy").unwrap_err().to_string().contains("there are node-initialize, "));
    }
}
