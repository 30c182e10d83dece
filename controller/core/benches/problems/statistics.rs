//! Sums and quantiles.

/// The value below which so many of a hundred lie; none of nothing.
pub(crate) fn quantile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(last * percent).div_ceil(100)])
}

/// The greatest; none of nothing.
pub(crate) fn greatest(values: &[f64]) -> Option<f64> {
    quantile(values, 100)
}

/// A ratio with three digits, or a dash.
pub(crate) fn ratio(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}
