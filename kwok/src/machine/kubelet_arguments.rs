//! Kubelet arguments, as flags or as words of a script.

use super::{
    quantity::Quantity,
    user_data::{BootPlan, CannotJoin},
};
use k8s_openapi::api::core::v1::Taint;
use std::collections::BTreeMap;

/// Takes what matters from `words`: `--flag=value` or `--flag value`. Other flags are the kubelet's own business.
pub(super) fn apply(words: &[String], plan: &mut BootPlan) -> Result<(), CannotJoin> {
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else { continue };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, words.peek().filter(|next| !next.starts_with("--")).map(|next| next.as_str())),
        };
        set(name, value.unwrap_or_default(), plan)?;
    }
    Ok(())
}

fn set(flag: &str, value: &str, plan: &mut BootPlan) -> Result<(), CannotJoin> {
    match flag {
        "node-labels" => plan.node_labels.extend(pairs(flag, value, '=')?),
        "register-with-taints" => plan.taints = entries(value).map(taint).collect::<Result<_, _>>()?,
        "max-pods" => plan.max_pods = Some(count(flag, value)?),
        "pods-per-core" => plan.pods_per_core = Some(count(flag, value)?),
        "kube-reserved" => plan.kube_reserved = quantities(flag, pairs(flag, value, '=')?)?,
        "system-reserved" => plan.system_reserved = quantities(flag, pairs(flag, value, '=')?)?,
        "eviction-hard" => plan.eviction_hard = thresholds(flag, pairs(flag, value, '<')?)?,
        _ => {}
    }
    Ok(())
}

fn entries(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn pairs(flag: &str, value: &str, separator: char) -> Result<BTreeMap<String, String>, CannotJoin> {
    let pair = |entry: &str| match entry.split_once(separator) {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        // A label without a value is one with an empty value; nothing else may do without.
        None if flag == "node-labels" => Ok((entry.to_owned(), String::new())),
        None => Err(CannotJoin::refuses(flag, format!("`{entry}` has no `{separator}`"))),
    };
    entries(value).map(pair).collect()
}

pub(super) fn count(setting: &str, value: &str) -> Result<u32, CannotJoin> {
    value.parse().map_err(|_| CannotJoin::refuses(setting, format!("`{value}` is not a whole number")))
}

/// `key=value:Effect` or `key:Effect`.
pub(super) fn taint(text: &str) -> Result<Taint, CannotJoin> {
    let malformed = || CannotJoin::refuses("register-with-taints", format!("`{text}` is not `key=value:Effect`"));
    let (pair, effect) = text.rsplit_once(':').ok_or_else(malformed)?;
    let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)));
    checked_taint(key, value.filter(|value| !value.is_empty()), effect)
}

/// A taint whose effect is one that there is.
pub(super) fn checked_taint(key: &str, value: Option<&str>, effect: &str) -> Result<Taint, CannotJoin> {
    if key.is_empty() || !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        let problem =
            format!("`{effect}` is not an effect: use `NoSchedule`, `PreferNoSchedule` or `NoExecute`, with a key");
        return Err(CannotJoin::refuses("register-with-taints", problem));
    }
    let value = value.map(str::to_owned);
    Ok(Taint { key: key.to_owned(), value, effect: effect.to_owned(), time_added: None })
}

pub(super) fn quantities(
    setting: &str,
    pairs: BTreeMap<String, String>,
) -> Result<BTreeMap<String, Quantity>, CannotJoin> {
    let parse = |(name, text): (String, String)| match text.parse::<Quantity>() {
        Ok(quantity) => Ok((name, quantity)),
        Err(error) => Err(CannotJoin::refuses(setting, error.to_string())),
    };
    pairs.into_iter().map(parse).collect()
}

/// Amounts or percentages.
pub(super) fn thresholds(
    setting: &str,
    pairs: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, CannotJoin> {
    let is_threshold = |text: &str| match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().is_ok_and(|percent| (0.0..=100.0).contains(&percent)),
        None => text.parse::<Quantity>().is_ok(),
    };
    match pairs.values().find(|text| !is_threshold(text)) {
        Some(text) => Err(CannotJoin::refuses(setting, format!("`{text}` is neither an amount nor a percentage"))),
        None => Ok(pairs),
    }
}
