//! Spans of time as `kubectl get` shows them (`k8s.io/apimachinery/pkg/util/duration.HumanDuration`).

use jiff::Timestamp;
use serde_json::Value;

/// How long ago a time was, or `<unknown>` where there is none.
pub(super) fn since(time: Option<&Value>, now: Timestamp) -> Value {
    let at = time.and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    at.map_or_else(|| "<unknown>".to_owned(), |at| human(now.duration_since(at).as_secs())).into()
}

/// A span in at most two units, coarser the longer it is.
pub(super) fn human(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    match () {
        () if seconds < -1 => "<invalid>".into(),
        () if seconds < 0 => "0s".into(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 192 => pair(days, "d", hours % 24, "h"),
        () if days < 730 => format!("{days}d"),
        () if days < 2920 => pair(years, "y", days % 365, "d"),
        () => format!("{years}y"),
    }
}

fn pair(large: i64, large_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
}

#[cfg(test)]
mod tests {
    use super::human;
    use rstest::rstest;

    #[rstest]
    #[case(-5, "<invalid>")]
    #[case(0, "0s")]
    #[case(119, "119s")]
    #[case(120, "2m")]
    #[case(130, "2m10s")]
    #[case(3600, "60m")]
    #[case(3 * 3600 + 60, "3h1m")]
    #[case(30 * 3600, "30h")]
    #[case(50 * 3600, "2d2h")]
    #[case(30 * 86_400, "30d")]
    #[case(800 * 86_400, "2y70d")]
    fn spans(#[case] seconds: i64, #[case] expected: &str) {
        assert_eq!(human(seconds), expected);
    }
}
