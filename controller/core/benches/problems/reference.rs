//! The Go program under `controller/benches/karpenter`.
