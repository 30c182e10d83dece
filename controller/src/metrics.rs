//! Metrics under the reference's names (spec core 6.1), registered at start; what can be read off the cluster is read at
//! the scrape, so that nothing runs while nothing happens.

mod cluster;
mod labels;
mod summary;

pub(crate) use cluster::ClusterMetrics;
use labels::Build;
pub(crate) use labels::{
    CloudCall, CloudFailure, ConsolidationType, Created, Decided, Disrupted, Evaluated, InController, InPool,
    InPoolAndZone, InPoolForReason, OfBatcher, OfMessage, OfReason, Requested, Savings, Terminated, Unhealthy,
    WithCode,
};
use prometheus_client::{
    encoding::text,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Metric, Registry},
};
use std::{
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};
use summary::Summary;

/// The reference's buckets for durations, in seconds.
const DURATION_BUCKETS: [f64; 46] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5,
    1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 120.0,
    150.0, 300.0, 450.0, 600.0, 1200.0,
];
/// A Prometheus client's usual buckets, in seconds: what the reference uses for calls to clouds.
const CALL_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// How many requests one call carries, up to what EC2 takes.
const BATCH_SIZES: [f64; 14] = [1.0, 2.0, 4.0, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 150.0, 200.0, 300.0, 500.0];
/// How old nodes become, in minutes: 15, 30, 45, then hours, then days.
const LIFETIME_BUCKETS_MINUTES: [u32; 21] = [
    15, 30, 45, 60, 120, 240, 360, 480, 600, 720, 960, 1200, 1440, 2880, 4320, 7200, 14400, 21600, 28800, 36000, 43200,
];

/// A histogram with fixed buckets, by labels.
pub(crate) type Histograms<S> = Family<S, Histogram, fn() -> Histogram>;
/// A counter, by labels.
pub(crate) type Counters<S> = Family<S, Counter>;
/// A gauge, by labels.
pub(crate) type Gauges<S> = Family<S, Gauge<f64, AtomicU64>>;

/// Every metric that a loop feeds. Cheap to share; the values are atomics.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Mutex<Registry>>,
    pub(crate) node_claims_created: Counters<Created>,
    pub(crate) node_claims_terminated: Counters<Terminated>,
    pub(crate) node_claims_disrupted: Counters<Disrupted>,
    pub(crate) node_claims_unhealthy_disrupted: Counters<Unhealthy>,
    pub(crate) node_claims_termination_duration: Histograms<InPool>,
    pub(crate) node_claims_instance_termination_duration: Histograms<InPool>,
    pub(crate) nodes_created: Counters<InPoolAndZone>,
    pub(crate) nodes_terminated: Counters<InPoolAndZone>,
    pub(crate) nodes_drained: Counters<InPool>,
    pub(crate) nodes_termination_duration: Summary,
    pub(crate) nodes_lifetime_duration: Histograms<InPool>,
    pub(crate) pods_startup_duration: Summary,
    pub(crate) pods_bound_duration: Histogram,
    pub(crate) pods_eviction_requests: Counters<WithCode>,
    pub(crate) pods_drained: Counters<OfReason>,
    pub(crate) pods_disruption_initiated: Counters<Disrupted>,
    pub(crate) scheduling_duration: Histograms<InController>,
    pub(crate) unschedulable_pods: Gauges<InController>,
    pub(crate) evaluation_duration: Histograms<Evaluated>,
    pub(crate) decisions: Counters<Decided>,
    pub(crate) savings: Gauges<Savings>,
    pub(crate) allowed_disruptions: Gauges<InPoolForReason>,
    pub(crate) nodes_consuming_budgets: Gauges<InPoolForReason>,
    pub(crate) failed_validations: Counters<ConsolidationType>,
    pub(crate) queue_failures: Counters<Decided>,
    pub(crate) cloud_duration: Histograms<CloudCall>,
    pub(crate) cloud_errors: Counters<CloudFailure>,
    pub(crate) batch_size: Histograms<OfBatcher>,
    pub(crate) batch_time: Histograms<OfBatcher>,
    pub(crate) interruption_received: Counters<OfMessage>,
    pub(crate) interruption_deleted: Counter,
    pub(crate) requests: Counters<Requested>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Registers every metric.
    #[expect(clippy::too_many_lines, reason = "one entry for each metric")]
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let requests =
            registered(&mut registry, "client_go_request", "Requests to the API server.", Counters::default());
        let k = registry.sub_registry_with_prefix("karpenter");
        let build: Gauges<Build> = registered(k, "build_info", "The running build.", Family::default());
        build.get_or_create(&Build::current()).set(1.0);
        let timeouts: Counters<ConsolidationType> = Family::default();
        for kind in ["multi", "single"] {
            timeouts.get_or_create_owned(&ConsolidationType { consolidation_type: kind.to_owned() });
        }
        registered(
            k,
            "voluntary_disruption_consolidation_timeouts",
            "Consolidation passes cut short by time.",
            timeouts,
        );
        Self {
            requests,
            node_claims_created: counters(k, "nodeclaims_created", "NodeClaims created."),
            node_claims_terminated: counters(k, "nodeclaims_terminated", "NodeClaims that are gone."),
            node_claims_disrupted: counters(k, "nodeclaims_disrupted", "NodeClaims that the controller deleted."),
            node_claims_unhealthy_disrupted: counters(
                k,
                "nodeclaims_unhealthy_disrupted",
                "NodeClaims deleted as their Nodes said that they were broken.",
            ),
            node_claims_termination_duration: histograms(
                k,
                "nodeclaims_termination_duration_seconds",
                "From the deletion of a NodeClaim to its end.",
                || Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            ),
            node_claims_instance_termination_duration: histograms(
                k,
                "nodeclaims_instance_termination_duration_seconds",
                "From the order to terminate a machine to its end.",
                || Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            ),
            nodes_created: counters(k, "nodes_created", "Nodes that registered."),
            nodes_terminated: counters(k, "nodes_terminated", "Nodes that are gone."),
            nodes_drained: counters(k, "nodes_drained", "Nodes that were drained."),
            nodes_termination_duration: summary(
                k,
                "nodes_termination_duration_seconds",
                "From the deletion of a Node to its end.",
            ),
            nodes_lifetime_duration: histograms(k, "nodes_lifetime_duration_seconds", "How old nodes became.", || {
                Histogram::new(LIFETIME_BUCKETS_MINUTES.map(|minutes| f64::from(minutes) * 60.0))
            }),
            pods_startup_duration: summary(
                k,
                "pods_startup_duration_seconds",
                "From a pod's creation to its being ready.",
            ),
            pods_bound_duration: registered(
                k,
                "pods_bound_duration_seconds",
                "From a pod's creation to its binding.",
                Histogram::new(DURATION_BUCKETS),
            ),
            pods_eviction_requests: counters(
                k,
                "pods_eviction_requests",
                "Requests to evict a pod, by the code of the answer.",
            ),
            pods_drained: counters(k, "pods_drained", "Pods that were evicted."),
            pods_disruption_initiated: counters(k, "pods_disruption_initiated", "Pods on nodes that were disrupted."),
            scheduling_duration: histograms(
                k,
                "scheduler_scheduling_duration_seconds",
                "What a scheduling pass took.",
                durations,
            ),
            unschedulable_pods: gauges(k, "scheduler_unschedulable_pods_count", "Pods that fit nowhere."),
            evaluation_duration: histograms(
                k,
                "voluntary_disruption_decision_evaluation_duration_seconds",
                "What looking for nodes to disrupt took.",
                durations,
            ),
            decisions: counters(k, "voluntary_disruption_decisions", "Disruption decisions."),
            savings: gauges(
                k,
                "voluntary_disruption_savings_dollars_per_hour",
                "What disruption saves since the controller started, as it was expected and as it came out; less than nothing where machines had to be replaced by dearer ones.",
            ),
            allowed_disruptions: gauges(k, "nodepools_allowed_disruptions", "How many more nodes may be disrupted."),
            nodes_consuming_budgets: gauges(k, "nodepools_nodes_consuming_budgets", "Nodes that budgets count."),
            failed_validations: counters(
                k,
                "voluntary_disruption_failed_validations",
                "Decisions that no longer held when validated.",
            ),
            queue_failures: counters(
                k,
                "voluntary_disruption_queue_failures",
                "Decisions that could not be carried out.",
            ),
            cloud_duration: histograms(k, "cloudprovider_duration_seconds", "What calls to the cloud took.", || {
                Histogram::new(CALL_BUCKETS)
            }),
            batch_size: histograms(
                k,
                "cloudprovider_batcher_batch_size",
                "How many requests were sent to the cloud as one.",
                || Histogram::new(BATCH_SIZES),
            ),
            batch_time: histograms(
                k,
                "cloudprovider_batcher_batch_time_seconds",
                "How long the first of them waited for the others.",
                durations,
            ),
            interruption_received: counters(
                k,
                "interruption_received_messages",
                "Messages that the interruption queue gave.",
            ),
            interruption_deleted: registered(
                k,
                "interruption_deleted_messages",
                "Messages of the interruption queue that were dealt with.",
                Counter::default(),
            ),
            cloud_errors: counters(k, "cloudprovider_errors", "Calls to the cloud that failed."),
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Adds what is read off the cluster at each scrape.
    pub(crate) fn observe_cluster(&self, cluster: ClusterMetrics) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(Box::new(cluster));
    }

    /// All metrics as OpenMetrics text.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

/// A duration as metrics have it.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn durations() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help.trim_end_matches('.'), metric.clone());
    metric
}

fn counters<S: LabelSet>(registry: &mut Registry, name: &str, help: &str) -> Counters<S> {
    registered(registry, name, help, Family::default())
}

fn gauges<S: LabelSet>(registry: &mut Registry, name: &str, help: &str) -> Gauges<S> {
    registered(registry, name, help, Family::default())
}

fn histograms<S: LabelSet>(registry: &mut Registry, name: &str, help: &str, new: fn() -> Histogram) -> Histograms<S> {
    registered(registry, name, help, Family::new_with_constructor(new))
}

fn summary(registry: &mut Registry, name: &str, help: &str) -> Summary {
    let summary = Summary::new(name, help.trim_end_matches('.'));
    registry.register_collector(Box::new(summary.clone()));
    summary
}

/// What labels of a family must be able to do.
pub(crate) trait LabelSet:
    prometheus_client::encoding::EncodeLabelSet + fmt::Debug + Clone + Hash + Eq + Send + Sync + 'static
{
}

impl<T: prometheus_client::encoding::EncodeLabelSet + fmt::Debug + Clone + Hash + Eq + Send + Sync + 'static> LabelSet
    for T
{
}

#[cfg(test)]
mod tests {
    use super::{InPool, Metrics};

    #[test]
    fn names_and_labels_are_the_references() {
        let metrics = Metrics::new();
        metrics.nodes_drained.get_or_create(&InPool { nodepool: "default".into() }).inc();
        metrics.nodes_termination_duration.observe("default", 3.0);
        metrics.nodes_termination_duration.observe("default", 5.0);
        let text = metrics.render().unwrap();
        for line in [
            "karpenter_nodes_drained_total{nodepool=\"default\"} 1",
            "karpenter_voluntary_disruption_consolidation_timeouts_total{consolidation_type=\"multi\"} 0",
            "karpenter_nodes_termination_duration_seconds{nodepool=\"default\",quantile=\"0.5\"} 3.0",
            "karpenter_nodes_termination_duration_seconds{nodepool=\"default\",quantile=\"1\"} 5.0",
            "karpenter_nodes_termination_duration_seconds_sum{nodepool=\"default\"} 8.0",
            "karpenter_nodes_termination_duration_seconds_count{nodepool=\"default\"} 2.0",
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in:\n{text}");
        }
        assert!(text.contains("karpenter_build_info{version="), "{text}");
    }
}
