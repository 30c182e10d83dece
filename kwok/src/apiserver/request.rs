//! What a request asks for: its path and query as values (API concepts: "Resource URIs").

use super::{
    field_error::FieldError,
    status::ApiError,
    store::{FieldSelector, Filter, LabelSelector},
    table::IncludeObject,
};

/// A path below a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) plural: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl ResourcePath {
    /// Reads `/api/v1/…` and `/apis/GROUP/VERSION/…`; `None` for every other path and for the discovery documents.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let segments: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(percent_decoded).collect();
        let (group, rest) = match segments.split_first()? {
            (first, rest) if first == "api" => (String::new(), rest),
            (first, rest) if first == "apis" => (rest.first()?.clone(), rest.get(1..)?),
            _ => return None,
        };
        let (version, rest) = rest.split_first()?;
        Self { group, version: version.clone(), ..Self::default() }.below(rest)
    }

    fn below(self, rest: &[String]) -> Option<Self> {
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        match rest.as_slice() {
            ["namespaces", name, subresource @ ("status" | "finalize")] => {
                Some(self.named("namespaces", name, Some(subresource)))
            }
            ["namespaces", namespace, plural, tail @ ..] => {
                let namespace = Some((*namespace).to_owned());
                Self { namespace, ..self }.tail(plural, tail)
            }
            [plural, tail @ ..] => self.tail(plural, tail),
            [] => None,
        }
    }

    fn tail(self, plural: &str, tail: &[&str]) -> Option<Self> {
        match tail {
            [] => Some(Self { plural: plural.into(), ..self }),
            [name] => Some(self.named(plural, name, None)),
            [name, subresource] => Some(self.named(plural, name, Some(subresource))),
            // The proxies' paths go on after the subresource.
            [name, subresource @ "proxy", ..] => Some(self.named(plural, name, Some(subresource))),
            _ => None,
        }
    }

    fn named(self, plural: &str, name: &str, subresource: Option<&str>) -> Self {
        let subresource = subresource.map(str::to_owned);
        Self { plural: plural.into(), name: Some(name.into()), subresource, ..self }
    }
}

/// A path segment without its `%xx`; malformed escapes stay as they are.
fn percent_decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten();
        let code =
            escaped.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How unknown and duplicate fields are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// The query's parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) watch: bool,
    pub(crate) limit: usize,
    pub(crate) continue_token: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) resource_version_match: Option<String>,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) allow_bookmarks: bool,
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
    pub(crate) field_manager: Option<String>,
    pub(crate) force: Option<bool>,
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) propagation: Option<String>,
    pub(crate) orphan_dependents: Option<bool>,
    pub(crate) container: Option<String>,
    pub(crate) include_object: IncludeObject,
    /// What is wrong with the options of writes.
    problems: Vec<FieldError>,
}

impl Query {
    /// Reads a query text.
    ///
    /// # Errors
    /// 400 that names the parameter.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(text)
            .map_err(|error| ApiError::bad_request(format!("unable to read the query: {error}")))?;
        let mut query = Self::default();
        for (key, value) in pairs {
            query.read(&key, value)?;
        }
        Ok(query)
    }

    fn read(&mut self, key: &str, value: String) -> Result<(), ApiError> {
        match key {
            "watch" => self.watch = truth(&value),
            "limit" => self.limit = number::<i64>(key, &value)?.try_into().unwrap_or(0),
            "continue" if !value.is_empty() => self.continue_token = Some(value),
            "resourceVersion" if !value.is_empty() => self.resource_version = Some(value),
            "resourceVersionMatch" if !value.is_empty() => self.resource_version_match = Some(value),
            "labelSelector" => self.labels = LabelSelector::parse(&value).map_err(ApiError::bad_request)?,
            "fieldSelector" => self.fields = FieldSelector::parse(&value).map_err(ApiError::bad_request)?,
            "timeoutSeconds" => self.timeout_seconds = Some(number(key, &value)?),
            "allowWatchBookmarks" => self.allow_bookmarks = truth(&value),
            "sendInitialEvents" => self.send_initial_events = Some(truth(&value)),
            "dryRun" => self.read_dry_run(&value),
            "fieldValidation" => self.read_field_validation(&value),
            "fieldManager" => self.field_manager = Some(value),
            "force" => self.force = Some(truth(&value)),
            "gracePeriodSeconds" => self.grace_seconds = Some(number(key, &value)?),
            "propagationPolicy" => self.propagation = Some(value),
            "orphanDependents" => self.orphan_dependents = Some(truth(&value)),
            "container" if !value.is_empty() => self.container = Some(value),
            "includeObject" => self.include_object = include_object(&value)?,
            // Unknown parameters are ignored, as the API server ignores them.
            _ => {}
        }
        Ok(())
    }

    fn read_dry_run(&mut self, value: &str) {
        self.dry_run = value == DRY_RUN;
        if !self.dry_run {
            self.problems.push(FieldError::not_supported("dryRun", value, &[DRY_RUN]));
        }
    }

    fn read_field_validation(&mut self, value: &str) {
        self.field_validation = match value {
            "Ignore" => FieldValidation::Ignore,
            "Warn" | "" => FieldValidation::Warn,
            "Strict" => FieldValidation::Strict,
            other => {
                let known = ["", "Ignore", "Strict", "Warn"];
                self.problems.push(FieldError::not_supported("fieldValidation", other, &known));
                FieldValidation::default()
            }
        };
    }

    /// Checks the options of a write; `kind` is their type, e.g. `CreateOptions`.
    ///
    /// # Errors
    /// 422 with what is wrong.
    pub(crate) fn check_write(&self, kind: &str, is_apply: bool) -> Result<(), ApiError> {
        let mut problems = Vec::new();
        if is_apply && self.field_manager.as_deref().unwrap_or_default().is_empty() {
            problems.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if kind == "PatchOptions" && !is_apply && self.force.is_some() {
            problems.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        problems.extend(self.problems.iter().cloned());
        options(kind, &problems)
    }

    /// Checks the options of a list or watch.
    ///
    /// # Errors
    /// 422 with what is wrong.
    pub(crate) fn check_list(&self) -> Result<(), ApiError> {
        let mut problems = Vec::new();
        let mut forbid = |field: &str, detail: &str| problems.push(FieldError::forbidden(field, detail));
        let matching = self.resource_version_match.as_deref();
        let field = "resourceVersionMatch";
        if self.watch {
            if self.send_initial_events.is_some() && matching != Some(NOT_OLDER) {
                forbid(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
            }
            if matching.is_some() && self.send_initial_events.is_none() {
                forbid(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            }
        } else {
            if matching.is_some() && self.resource_version.is_none() {
                forbid(field, "resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if matching == Some(EXACT) && self.resource_version.as_deref() == Some("0") {
                forbid(field, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
            if self.send_initial_events.is_some() {
                forbid("sendInitialEvents", "sendInitialEvents is forbidden for list");
            }
        }
        if matching.is_some() && self.continue_token.is_some() {
            forbid(field, "resourceVersionMatch is forbidden when continue is provided");
        }
        let known: &[&str] = if self.watch { &[NOT_OLDER] } else { &[EXACT, NOT_OLDER, ""] };
        if let Some(unknown) = matching.filter(|matching| !known.contains(matching)) {
            problems.push(FieldError::not_supported(field, unknown, known));
        }
        options("ListOptions", &problems)
    }

    /// The objects selected in `namespace`, or in `name` alone.
    pub(crate) fn filter(&self, path: &ResourcePath) -> Filter {
        Filter { namespace: path.namespace.clone(), labels: self.labels.clone(), fields: self.fields.clone() }
    }
}

/// The one value that `dryRun` can have.
const DRY_RUN: &str = "All";
/// Values of `resourceVersionMatch`.
const EXACT: &str = "Exact";
const NOT_OLDER: &str = "NotOlderThan";

/// 422 for options, if anything is wrong with them.
pub(crate) fn options(kind: &str, problems: &[FieldError]) -> Result<(), ApiError> {
    if problems.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", kind, "", problems)) }
}

/// As Go's conversion reads booleans in queries: everything but these is true.
fn truth(value: &str) -> bool {
    !value.eq_ignore_ascii_case("false") && value != "0"
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, ApiError>
where
    T::Err: std::fmt::Display,
{
    value.parse().map_err(|error| {
        tracing::debug!(key, %error, "a query has something else where a number is due");
        ApiError::bad_request(format!("strconv.ParseInt: parsing \"{value}\": invalid syntax"))
    })
}

fn include_object(value: &str) -> Result<IncludeObject, ApiError> {
    match value {
        "None" => Ok(IncludeObject::None),
        "Metadata" | "" => Ok(IncludeObject::Metadata),
        "Object" => Ok(IncludeObject::Object),
        other => {
            Err(ApiError::bad_request(format!("`includeObject` must be `None`, `Metadata` or `Object`, not `{other}`")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Query, ResourcePath};
    use rstest::rstest;

    #[rstest]
    #[case("/api/v1/pods", "|v1|-|pods|-|-")]
    #[case("/api/v1/namespaces", "|v1|-|namespaces|-|-")]
    #[case("/api/v1/namespaces/default", "|v1|-|namespaces|default|-")]
    #[case("/api/v1/namespaces/default/status", "|v1|-|namespaces|default|status")]
    #[case("/api/v1/namespaces/default/pods/a/eviction", "|v1|default|pods|a|eviction")]
    #[case("/apis/apps/v1/namespaces/x/deployments", "apps|v1|x|deployments|-|-")]
    #[case(
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
        "rbac.authorization.k8s.io|v1|-|clusterroles|system:node|-"
    )]
    fn paths(#[case] path: &str, #[case] expected: &str) {
        let found = ResourcePath::parse(path).unwrap();
        let shown = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".into());
        let parts = [
            found.group.clone(),
            found.version.clone(),
            shown(&found.namespace),
            found.plural.clone(),
            shown(&found.name),
            shown(&found.subresource),
        ];
        assert_eq!(parts.join("|"), expected);
    }

    #[rstest]
    #[case("/api")]
    #[case("/apis/apps/v1")]
    #[case("/healthz")]
    fn other_paths(#[case] path: &str) {
        assert_eq!(ResourcePath::parse(path), None);
    }

    #[test]
    fn bad_parameters_are_named() {
        assert!(Query::parse("limit=many").unwrap_err().message.contains("parsing \"many\""));
        let asked = Query::parse("dryRun=some&force=true").unwrap();
        let told = asked.check_write("PatchOptions", false).unwrap_err().message;
        assert!(told.contains("dryRun: Unsupported value") && told.contains("force: Forbidden"), "{told}");
        assert!(Query::parse("resourceVersionMatch=Exact").unwrap().check_list().is_err());
        assert!(Query::parse("watch=1&limit=5&unknown=x").unwrap().watch);
    }
}
