//! Options of the controller, under the reference's names (spec core 7). A flag wins over its environment variable.

use crate::{
    cloud::CloudProvider,
    runtime::{ControllerConfig, LeaderElection, LeaseTimes, Servers},
};
use clap::{ArgAction, Args};
use sawhorse_ambient::{Clock, Seed};
use sawhorse_core::{
    api::parse_go_duration,
    model::{FeatureGates, MinValuesPolicy, PreferencePolicy, Settings},
};
use std::{net::IpAddr, str::FromStr, sync::Arc, time::Duration};

/// What the controller can be told.
#[derive(Args, Clone, Debug)]
pub struct ControllerArgs {
    /// How to decide.
    #[command(flatten)]
    pub decisions: DecisionArgs,
    /// Where to listen.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Which instance acts.
    #[command(flatten)]
    pub leadership: LeadershipArgs,
    /// What to log.
    #[command(flatten)]
    pub logs: LogArgs,
}

/// How to decide.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Decisions")]
pub struct DecisionArgs {
    /// A batch of pending pods is closed at the latest after this long
    #[arg(long, env = "BATCH_MAX_DURATION", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub batch_max_duration: Duration,
    /// A batch of pending pods is closed after this long without a new pod
    #[arg(long, env = "BATCH_IDLE_DURATION", value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub batch_idle_duration: Duration,
    /// Whether preferred terms of pods are tried before they are given up: `Respect` or `Ignore`
    #[arg(long, env = "PREFERENCE_POLICY", value_name = "POLICY", default_value = "Respect", value_parser = preference_policy)]
    pub preference_policy: PreferencePolicy,
    /// What to do when `minValues` cannot be met: `Strict` or `BestEffort`
    #[arg(long, env = "MIN_VALUES_POLICY", value_name = "POLICY", default_value = "Strict", value_parser = min_values_policy)]
    pub min_values_policy: MinValuesPolicy,
    /// Among decisions whose price is within so many thousandths of the best that was found, one with fewer nodes is taken
    #[arg(long, env = "FEWER_NODES_WITHIN_PERMILLE", value_name = "PERMILLE", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub fewer_nodes_within_permille: u32,
    /// Delete machines that have reached their age at once, as the reference does: no budget and no pod is asked, and no
    /// replacement comes first
    #[arg(
        long,
        env = "FORCEFUL_EXPIRATION",
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = false,
        default_missing_value = "true"
    )]
    pub forceful_expiration: bool,
    /// With the feature NodeRepair: delete machines that say that they are broken at once, as the reference does: no budget is
    /// asked, and no replacement comes first
    #[arg(
        long,
        env = "FORCEFUL_REPAIR",
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = false,
        default_missing_value = "true"
    )]
    pub forceful_repair: bool,
    /// Features to switch on or off, as `Name=true,Name=false`; unknown names are ignored
    #[arg(
        long,
        env = "FEATURE_GATES",
        value_name = "GATES",
        default_value = "NodeRepair=false,ReservedCapacity=true,SpotToSpotConsolidation=false,NodeOverlay=false,StaticCapacity=false,CapacityBuffer=false",
        value_parser = feature_gates
    )]
    pub feature_gates: Gates,
}

/// Where to listen.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Servers")]
pub struct ServerArgs {
    /// Address that metrics and probes are served on
    #[arg(long, env = "BIND_ADDRESS", value_name = "IP", default_value = "127.0.0.1")]
    pub bind_address: IpAddr,
    /// Port of `/metrics`
    #[arg(long, env = "METRICS_PORT", value_name = "PORT", default_value_t = 8080)]
    pub metrics_port: u16,
    /// Port of `/healthz` and `/readyz`
    #[arg(long, env = "HEALTH_PROBE_PORT", value_name = "PORT", default_value_t = 8081)]
    pub health_probe_port: u16,
}

/// Which instance acts.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Leader election")]
pub struct LeadershipArgs {
    /// Act without asking for the lease: right where there is one instance only
    #[arg(
        long,
        env = "DISABLE_LEADER_ELECTION",
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = false,
        default_missing_value = "true"
    )]
    pub disable_leader_election: bool,
    /// Name of the Lease
    #[arg(long, env = "LEADER_ELECTION_NAME", value_name = "NAME", default_value = "karpenter-leader-election")]
    pub leader_election_name: String,
    /// Namespace of the Lease; the client's own where none is given
    #[arg(long, env = "LEADER_ELECTION_NAMESPACE", value_name = "NAMESPACE", default_value = "")]
    pub leader_election_namespace: String,
    /// How long the others wait after a leader's last sign of life, in whole seconds
    #[arg(long, env = "LEADER_ELECTION_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub leader_election_lease_duration: Duration,
    /// How long a leader keeps trying to renew the Lease before it ends; shorter than the lease's duration
    #[arg(long, env = "LEADER_ELECTION_RENEW_DEADLINE", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub leader_election_renew_deadline: Duration,
    /// Between two tries to get or to renew the Lease
    #[arg(long, env = "LEADER_ELECTION_RETRY_PERIOD", value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub leader_election_retry_period: Duration,
}

/// What to log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// `debug`, `info` or `error`
    #[arg(long, env = "LOG_LEVEL", value_name = "LEVEL", default_value = "info", value_parser = log_level)]
    pub log_level: String,
}

/// Features that are switched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates(pub FeatureGates);

impl ControllerArgs {
    /// The configuration that the options ask for, with what they cannot say. `identity` tells instances apart, e.g. the host's
    /// name and something drawn.
    pub fn into_config(
        self,
        client: kube::Client,
        provider: Arc<dyn CloudProvider>,
        clock: Clock,
        seed: Seed,
        identity: String,
    ) -> ControllerConfig {
        let leader_election = self.leader_election(client.default_namespace());
        let (settings, servers) = (self.settings(), Some(self.servers()));
        ControllerConfig {
            client,
            provider,
            clock,
            seed,
            settings,
            identity,
            leader_election,
            servers,
            decision_log: None,
        }
    }

    /// How to decide.
    pub fn settings(&self) -> Settings {
        let DecisionArgs {
            batch_max_duration,
            batch_idle_duration,
            preference_policy,
            min_values_policy,
            fewer_nodes_within_permille,
            forceful_expiration,
            forceful_repair,
            feature_gates,
        } = self.decisions.clone();
        Settings {
            preference_policy,
            min_values_policy,
            fewer_nodes_within_permille,
            batch_idle_duration,
            batch_max_duration,
            forceful_expiration,
            forceful_repair,
            feature_gates: feature_gates.0,
            ..Settings::default()
        }
    }

    /// Where to listen.
    pub fn servers(&self) -> Servers {
        let ServerArgs { bind_address, metrics_port, health_probe_port } = self.servers.clone();
        Servers { address: bind_address, metrics_port, health_probe_port }
    }

    /// The lease to ask for, if any; `default_namespace` is the client's own.
    pub fn leader_election(&self, default_namespace: &str) -> Option<LeaderElection> {
        let LeadershipArgs {
            disable_leader_election,
            leader_election_name,
            leader_election_namespace,
            leader_election_lease_duration,
            leader_election_renew_deadline,
            leader_election_retry_period,
        } = self.leadership.clone();
        let times = LeaseTimes {
            lease_duration: leader_election_lease_duration,
            renew_deadline: leader_election_renew_deadline,
            retry_period: leader_election_retry_period,
        };
        let namespace =
            if leader_election_namespace.is_empty() { default_namespace.to_owned() } else { leader_election_namespace };
        (!disable_leader_election).then_some(LeaderElection { name: leader_election_name, namespace, times })
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_go_duration(text).map_err(|error| error.to_string())
}

fn preference_policy(text: &str) -> Result<PreferencePolicy, String> {
    match text {
        "Respect" => Ok(PreferencePolicy::Respect),
        "Ignore" => Ok(PreferencePolicy::Ignore),
        _ => Err("use `Respect` or `Ignore`".to_owned()),
    }
}

fn min_values_policy(text: &str) -> Result<MinValuesPolicy, String> {
    match text {
        "Strict" => Ok(MinValuesPolicy::Strict),
        "BestEffort" => Ok(MinValuesPolicy::BestEffort),
        _ => Err("use `Strict` or `BestEffort`".to_owned()),
    }
}

fn log_level(text: &str) -> Result<String, String> {
    match text {
        "" => Ok("info".to_owned()),
        "debug" | "info" | "error" => Ok(text.to_owned()),
        _ => Err("use `debug`, `info` or `error`".to_owned()),
    }
}

fn feature_gates(text: &str) -> Result<Gates, String> {
    let mut gates = FeatureGates::default();
    for gate in text.split(',').map(str::trim).filter(|gate| !gate.is_empty()) {
        let (name, value) =
            gate.split_once('=').ok_or_else(|| format!("`{gate}`: write `Name=true` or `Name=false`"))?;
        let value = bool::from_str(value).map_err(|_| format!("`{gate}`: the value must be `true` or `false`"))?;
        match name {
            "NodeRepair" => gates.node_repair = value,
            "ReservedCapacity" => gates.reserved_capacity = value,
            "StaticCapacity" => gates.static_capacity = value,
            "CapacityBuffer" => gates.capacity_buffer = value,
            "NodeOverlay" => gates.node_overlay = value,
            "SpotToSpotConsolidation" => gates.spot_to_spot_consolidation = value,
            // As the reference does: a deployment may name gates of other versions.
            _ => {}
        }
    }
    Ok(Gates(gates))
}

#[cfg(test)]
mod tests {
    use super::{ControllerArgs, LeaseTimes};
    use clap::Parser;
    use rstest::rstest;
    use sawhorse_core::model::{MinValuesPolicy, Settings};
    use std::time::Duration;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        controller: ControllerArgs,
    }

    fn parse(args: &[&str]) -> Result<ControllerArgs, String> {
        let args = std::iter::once("sawhorse").chain(args.iter().copied());
        Cli::try_parse_from(args).map(|cli| cli.controller).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_the_references() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.settings(), Settings::default());
        assert_eq!((args.servers().metrics_port, args.servers().health_probe_port), (8080, 8081));
        let lease = args.leader_election("kube-system").unwrap();
        assert_eq!((lease.name.as_str(), lease.namespace.as_str()), ("karpenter-leader-election", "kube-system"));
        assert_eq!((lease.times, lease.times.problem()), (LeaseTimes::default(), None));
    }

    #[test]
    fn options_become_settings() {
        let args = parse(&[
            "--batch-idle-duration=500ms",
            "--min-values-policy=BestEffort",
            "--feature-gates=SpotToSpotConsolidation=true,Unheard=true",
            "--disable-leader-election",
        ]);
        let args = args.unwrap();
        assert_eq!(args.settings().batch_idle_duration, Duration::from_millis(500));
        assert_eq!(args.settings().min_values_policy, MinValuesPolicy::BestEffort);
        assert!(args.settings().feature_gates.spot_to_spot_consolidation);
        assert!(args.leader_election("x").is_none());
    }

    #[rstest]
    #[case("--batch-max-duration=soon", "`soon` is not a duration")]
    #[case("--preference-policy=respect", "use `Respect` or `Ignore`")]
    #[case("--feature-gates=NodeRepair=yes", "the value must be `true` or `false`")]
    #[case("--disable-leader-election=1", "invalid value '1'")]
    #[case("--log-level=loud", "use `debug`, `info` or `error`")]
    fn bad_values_are_refused(#[case] arg: &str, #[case] expected: &str) {
        let error = parse(&[arg]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
