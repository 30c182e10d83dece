//! Summaries with the reference's quantiles. The metrics library has none, so the samples are written as gauges: dashboards
//! that ask for `…{quantile="0.9"}`, `…_sum` and `…_count` find what they look for.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The quantiles that the reference shows.
const QUANTILES: [(f64, &str); 5] = [(0.0, "0"), (0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99"), (1.0, "1")];
/// How many of the latest observations the quantiles are of: the 99th percentile of a thousand is exact enough, and sorting
/// them at a scrape costs microseconds.
const WINDOW: usize = 1000;

/// Quantiles of the latest observations by NodePool, their sum and their number.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    name: String,
    help: String,
    by_pool: Arc<Mutex<BTreeMap<String, Observed>>>,
}

#[derive(Debug, Default)]
struct Observed {
    latest: VecDeque<f64>,
    sum: f64,
    count: u64,
}

impl Summary {
    pub(super) fn new(name: &str, help: &str) -> Self {
        Self { name: name.to_owned(), help: help.to_owned(), by_pool: Arc::default() }
    }

    /// Observes `value` in `node_pool`; the empty name stands for a summary without that label.
    pub(crate) fn observe(&self, node_pool: &str, value: f64) {
        let mut by_pool = self.by_pool.lock().unwrap_or_else(PoisonError::into_inner);
        let observed = by_pool.entry(node_pool.to_owned()).or_default();
        observed.latest.truncate(WINDOW - 1);
        observed.latest.push_front(value);
        observed.sum += value;
        observed.count += 1;
    }
}

impl Collector for Summary {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let by_pool = self.by_pool.lock().unwrap_or_else(PoisonError::into_inner);
        self.encode_quantiles(&mut encoder, &by_pool)?;
        self.encode_part(&mut encoder, &by_pool, "sum", |observed| observed.sum)?;
        self.encode_part(&mut encoder, &by_pool, "count", |observed| observed.count as f64)
    }
}

impl Summary {
    fn encode_quantiles(
        &self,
        encoder: &mut DescriptorEncoder,
        by_pool: &BTreeMap<String, Observed>,
    ) -> Result<(), fmt::Error> {
        let mut quantiles = encoder.encode_descriptor(&self.name, &self.help, None, MetricType::Gauge)?;
        for (pool, observed) in by_pool {
            let mut sorted: Vec<f64> = observed.latest.iter().copied().collect();
            sorted.sort_by(f64::total_cmp);
            for (quantile, text) in QUANTILES {
                let mut labels = labels_of(pool);
                labels.push(("quantile", text));
                ConstGauge::new(at(&sorted, quantile)).encode(quantiles.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn encode_part(
        &self,
        encoder: &mut DescriptorEncoder,
        by_pool: &BTreeMap<String, Observed>,
        part: &str,
        value: fn(&Observed) -> f64,
    ) -> Result<(), fmt::Error> {
        let name = format!("{}_{part}", self.name);
        let mut samples = encoder.encode_descriptor(&name, &self.help, None, MetricType::Gauge)?;
        for (pool, observed) in by_pool {
            ConstGauge::new(value(observed)).encode(samples.encode_family(&labels_of(pool))?)?;
        }
        Ok(())
    }
}

fn labels_of(pool: &str) -> Vec<(&'static str, &str)> {
    if pool.is_empty() { Vec::new() } else { vec![("nodepool", pool)] }
}

/// The smallest value that `quantile` of the values do not exceed.
fn at(sorted: &[f64], quantile: f64) -> f64 {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::at;
    use rstest::rstest;

    #[rstest]
    #[case(0.0, 1.0)]
    #[case(0.5, 2.0)]
    #[case(0.9, 4.0)]
    #[case(1.0, 4.0)]
    fn quantiles(#[case] quantile: f64, #[case] expected: f64) {
        assert_eq!(at(&[1.0, 2.0, 3.0, 4.0], quantile), expected);
    }
}
