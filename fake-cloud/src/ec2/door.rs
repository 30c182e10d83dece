//! A request's way through the door: read, told apart, delayed or refused as the fault rules say, carried out, recorded.

use super::{
    Call, ec2,
    error::{Protocol, Refusal, ec2_response, json_response, query_response},
    iam, identity, pricing_operation,
    query::Params,
    sqs, ssm_operation, sts,
};
use crate::{
    app::SharedWorld,
    world::{CallRecord, CallShape, CloudError, Credentials, LostResponse, Treatment, World},
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    response::Response,
};
use http::{Method, Request, StatusCode, header::AUTHORIZATION, request::Parts};
use sawhorse_ambient::Seed;
use serde_json::Value;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The largest body. A `CreateFleet` with 300 overrides and many tags has some 60 KB, the largest user data 22 KB.
const BODY_MAX: usize = 1024 * 1024;
/// How much of a call's parameters, and of one of them, the audit trail keeps.
const RECORDED_MAX: usize = 400;
const RECORDED_VALUE_MAX: usize = 64;

const EC2_VERSION: &str = "2016-11-15";
const STS_VERSION: &str = "2011-06-15";
const IAM_VERSION: &str = "2010-05-08";
const STS_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const IAM_NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

/// The door and how many requests came through it.
#[derive(Clone)]
struct Door {
    world: SharedWorld,
    seed: Seed,
    requests: Arc<AtomicU64>,
}

impl Door {
    /// The id of the next request: drawn from the seed and the request's number.
    fn next_request_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed).to_string();
        self.seed.stream(&["aws request", &number]).uuid()
    }
}

/// The door as a router that answers every path; mount it below the doors that have paths of their own.
pub(crate) fn router(world: SharedWorld) -> Router {
    let seed = world.with(|world| world.seed());
    Router::new().fallback(serve).with_state(Door { world, seed, requests: Arc::default() })
}

/// Serves one request of any AWS service.
async fn serve(State(door): State<Door>, request: Request<Body>) -> Response {
    let request_id = door.next_request_id();
    let world = door.world;
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        let refusal = Refusal::bad("InvalidInput", "The payload for the body of the request is too large.");
        return protocol(&parts).refuse(&refusal, &request_id);
    };
    let incoming = match Incoming::read(&parts, &body) {
        Ok(incoming) => incoming,
        Err(refusal) => {
            let record = CallRecord { door: "ec2", operation: "(unreadable)".to_owned(), ..CallRecord::default() };
            let reply = Reply { outcome: Err(refusal), touched: Vec::new() };
            let reply = world.with(|world| reply.recorded(world, record));
            return reply.answer(protocol(&parts), &request_id);
        }
    };
    let plan = world.with(|world| world.begin_call(&incoming.shape()));
    if !plan.delay.is_zero() {
        tokio::time::sleep(plan.delay).await;
    }
    let (protocol, record) = (incoming.service.protocol(), incoming.record(&body));
    if let Some(waiting) = incoming.waiting().filter(|_| plan.treatment == Treatment::Serve) {
        waiting.over(&world).await;
    }
    let base_url = base_url(&parts);
    let reply = match plan.treatment {
        Treatment::Refuse(error) => {
            let reply = Reply { outcome: Err(refusal(protocol, &error)), touched: Vec::new() };
            world.with(|world| reply.recorded(world, record))
        }
        Treatment::Serve => world.with(|world| incoming.carry_out(world, &base_url).recorded(world, record)),
        Treatment::Twice => {
            if let Ok(first) = Incoming::read(&parts, &body) {
                // The caller gets the answer to the second; what became of the first shows in the world.
                world.with(|world| drop(first.carry_out(world, &base_url)));
            }
            world.with(|world| incoming.carry_out(world, &base_url).recorded(world, record))
        }
        Treatment::Lose(lost) => {
            let reply = world.with(|world| incoming.carry_out(world, &base_url));
            return lose(&world, lost, &reply, protocol, record, &request_id).await;
        }
    };
    reply.answer(protocol, &request_id)
}

/// Scheme and host by which the caller reached the door.
fn base_url(parts: &Parts) -> String {
    let host = parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(http::uri::Authority::as_str)).unwrap_or("localhost");
    format!("http://{host}")
}

/// The refusal of a call before it is looked at: the services have different words for it.
fn refusal(protocol: Protocol, error: &CloudError) -> Refusal {
    match (protocol, error) {
        (Protocol::Ec2, error) => error.clone().into(),
        (Protocol::Query(_), CloudError::Throttled) => Refusal::bad("Throttling", "Rate exceeded"),
        (_, CloudError::Throttled) => Refusal::bad("ThrottlingException", "Rate exceeded"),
        (Protocol::Query(_), CloudError::RefusedCaller(credentials)) => {
            let (code, text) = match credentials {
                Credentials::Valid | Credentials::Expired => {
                    ("ExpiredToken", "The security token included in the request is expired")
                }
                Credentials::WrongSignature => ("SignatureDoesNotMatch", WRONG_SIGNATURE),
                Credentials::Denied => ("AccessDenied", "User is not authorized to perform this operation"),
            };
            Refusal::new(StatusCode::FORBIDDEN, code, text)
        }
        (_, CloudError::RefusedCaller(credentials)) => match credentials {
            Credentials::Valid | Credentials::Expired => {
                Refusal::bad("ExpiredTokenException", "The security token included in the request is expired")
            }
            Credentials::WrongSignature => {
                Refusal::new(StatusCode::FORBIDDEN, "InvalidSignatureException", WRONG_SIGNATURE)
            }
            Credentials::Denied => {
                Refusal::bad("AccessDeniedException", "User is not authorized to perform this operation")
            }
        },
        (_, error) => error.clone().into(),
    }
}

const WRONG_SIGNATURE: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                               Secret Access Key and signing method.";

/// What became of a call.
struct Reply {
    outcome: Result<Content, Refusal>,
    touched: Vec<String>,
}

/// A successful answer before it has its envelope.
enum Content {
    Xml(String, super::xml::Xml),
    Json(Value),
}

impl Reply {
    /// The reply, once the audit trail has the call.
    fn recorded(mut self, world: &mut World, record: CallRecord) -> Self {
        let (result, status) = match &self.outcome {
            Ok(_) => ("ok".to_owned(), StatusCode::OK),
            Err(refusal) => (refusal.code.to_string(), refusal.status),
        };
        let ids = std::mem::take(&mut self.touched);
        world.record_call(CallRecord { result, status: status.as_u16(), ids, ..record }, false);
        self
    }

    /// The outcome in the protocol's envelope.
    fn answer(self, protocol: Protocol, request_id: &str) -> Response {
        match self.outcome {
            Err(refusal) => protocol.refuse(&refusal, request_id),
            Ok(Content::Json(body)) => json_response(protocol, StatusCode::OK, request_id, &body, None),
            Ok(Content::Xml(action, xml)) => match protocol {
                Protocol::Query(namespace) => query_response(&action, namespace, request_id, xml),
                Protocol::Ec2 | Protocol::Json | Protocol::Sqs | Protocol::RestJson => {
                    ec2_response(&action, request_id, xml)
                }
            },
        }
    }
}

/// The call took effect, but its caller does not learn of it.
async fn lose(
    world: &SharedWorld,
    lost: LostResponse,
    reply: &Reply,
    protocol: Protocol,
    record: CallRecord,
    request_id: &str,
) -> Response {
    let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "An internal error has occurred");
    let (result, status) = match lost {
        LostResponse::ServerError => (refusal.code.to_string(), refusal.status.as_u16()),
        LostResponse::Never => ("(no answer)".to_owned(), 0),
    };
    world.with(|world| world.record_call(CallRecord { result, status, ids: reply.touched.clone(), ..record }, true));
    match lost {
        LostResponse::ServerError => protocol.refuse(&refusal, request_id),
        LostResponse::Never => std::future::pending().await,
    }
}

/// The services behind the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Ec2,
    Iam,
    Sts,
    Ssm,
    Sqs,
    Pricing,
    Eks,
    Arc,
}

impl Service {
    fn protocol(self) -> Protocol {
        match self {
            Self::Ec2 => Protocol::Ec2,
            Self::Iam => Protocol::Query(IAM_NAMESPACE),
            Self::Sts => Protocol::Query(STS_NAMESPACE),
            Self::Ssm | Self::Pricing => Protocol::Json,
            Self::Sqs => Protocol::Sqs,
            Self::Eks | Self::Arc => Protocol::RestJson,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Iam => "iam",
            Self::Sts => "sts",
            Self::Ssm => "ssm",
            Self::Pricing => "pricing",
            Self::Sqs => "sqs",
            Self::Eks => "eks",
            Self::Arc => "arc-zonal-shift",
        }
    }
}

/// The protocol that the answer must have, as far as the headers tell: before the body is read, and when it cannot be.
fn protocol(parts: &Parts) -> Protocol {
    if let Some(target) = parts.headers.get("x-amz-target") {
        if target.as_bytes().starts_with(b"AmazonSQS.") { Protocol::Sqs } else { Protocol::Json }
    } else if parts.uri.path() == "/" {
        Protocol::Ec2
    } else {
        Protocol::RestJson
    }
}

/// A request that was understood.
struct Incoming {
    service: Service,
    action: String,
    payload: Payload,
}

enum Payload {
    Query(Params),
    Json(Value),
    /// What the path names.
    Path(String),
}

impl Incoming {
    fn read(parts: &Parts, body: &[u8]) -> Result<Self, Refusal> {
        // Signatures are not checked, but that a request has one is: a client without credentials should notice.
        if !parts.headers.contains_key(AUTHORIZATION) {
            let text = "Request is missing Authentication Token";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "MissingAuthenticationToken", text));
        }
        if let Some(target) = parts.headers.get("x-amz-target") {
            return Self::read_json(target.to_str().unwrap_or_default(), body);
        }
        if let Some(name) = parts
            .uri
            .path()
            .strip_prefix("/clusters/")
            .filter(|name| parts.method == Method::GET && !name.contains('/'))
        {
            let payload = Payload::Path(name.to_owned());
            return Ok(Self { service: Service::Eks, action: "DescribeCluster".to_owned(), payload });
        }
        if parts.uri.path() == "/clusters" && parts.method == Method::GET {
            let payload = Payload::Path(String::new());
            return Ok(Self { service: Service::Eks, action: "ListClusters".to_owned(), payload });
        }
        if let Some(arn) = parts.uri.path().strip_prefix("/managedresources/").filter(|_| parts.method == Method::GET) {
            let payload = Payload::Path(percent_decoded(arn));
            return Ok(Self { service: Service::Arc, action: "GetManagedResource".to_owned(), payload });
        }
        if parts.uri.path() != "/" {
            let text = format!("There is nothing at {} {}", parts.method, parts.uri.path());
            return Err(Refusal::new(StatusCode::NOT_FOUND, "UnknownOperationException", text));
        }
        let query = if body.is_empty() { parts.uri.query().unwrap_or_default().as_bytes() } else { body };
        Self::read_query(Params::parse(query)?)
    }

    fn read_query(mut params: Params) -> Result<Self, Refusal> {
        let action = params.text("Action").filter(|action| !action.is_empty());
        let action = action.ok_or_else(|| {
            Refusal::bad("MissingAction", "The request must contain the parameter Action, the name of an operation")
        })?;
        let service = match params.text("Version").as_deref() {
            None | Some(EC2_VERSION) => Service::Ec2,
            Some(STS_VERSION) => Service::Sts,
            Some(IAM_VERSION) => Service::Iam,
            Some(other) => {
                let text = format!("The requested version ({other}) is not supported: use {EC2_VERSION}");
                return Err(Refusal::bad("NoSuchVersion", text));
            }
        };
        Ok(Self { service, action, payload: Payload::Query(params) })
    }

    fn read_json(target: &str, body: &[u8]) -> Result<Self, Refusal> {
        let unknown = || Refusal::bad("UnknownOperationException", format!("The target `{target}` is not served."));
        let (service, action) = target.split_once('.').ok_or_else(unknown)?;
        let service = match service {
            "AmazonSSM" => Service::Ssm,
            "AmazonSQS" => Service::Sqs,
            "AWSPriceListService" => Service::Pricing,
            _ => return Err(unknown()),
        };
        let body = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad("SerializationException", format!("The body is no JSON: {error}")))?;
        Ok(Self { service, action: action.to_owned(), payload: Payload::Json(body) })
    }

    /// What the audit trail keeps of the request.
    fn record(&self, body: &[u8]) -> CallRecord {
        let parameters = match &self.payload {
            Payload::Query(_) => shortened_query(body),
            Payload::Json(_) => shortened(&String::from_utf8_lossy(body), RECORDED_MAX),
            Payload::Path(name) => format!("name={}", shortened(name, RECORDED_MAX)),
        };
        let operation = shortened(&self.action, RECORDED_VALUE_MAX);
        CallRecord { door: self.service.name(), operation, parameters, ..CallRecord::default() }
    }

    /// What limits on requests look at.
    fn shape(&self) -> CallShape<'_> {
        let everything = match &self.payload {
            Payload::Query(params) => !params.has("Filter") && !params.has("MaxResults"),
            Payload::Json(_) | Payload::Path(_) => false,
        };
        CallShape { operation: &self.action, of_ec2: self.service == Service::Ec2, everything }
    }

    /// Whom the caller waits for, if the call is one that waits.
    fn waiting(&self) -> Option<sqs::Waiting> {
        match (&self.payload, self.service) {
            (Payload::Json(body), Service::Sqs) => sqs::Waiting::of(&self.action, body),
            _ => None,
        }
    }

    fn carry_out(self, world: &mut World, base_url: &str) -> Reply {
        let mut call = Call { world, action: &self.action, base_url, touched: Vec::new() };
        let xml = |xml| Content::Xml(self.action.clone(), xml);
        let outcome = match (self.service, self.payload) {
            (Service::Ec2, Payload::Query(params)) => ec2(&mut call, params).map(xml),
            (Service::Sts, Payload::Query(params)) => sts(&call, params).map(xml),
            (Service::Ssm, Payload::Json(body)) => ssm_operation(&call, body).map(Content::Json),
            (Service::Pricing, Payload::Json(body)) => pricing_operation(&call, body).map(Content::Json),
            (Service::Iam, Payload::Query(params)) => iam::operation(&mut call, params).map(xml),
            (Service::Sqs, Payload::Json(body)) => sqs::operation(&mut call, body).map(Content::Json),
            (Service::Eks, Payload::Path(name)) if self.action == "ListClusters" && name.is_empty() => {
                identity::list_clusters(&call).map(Content::Json)
            }
            (Service::Eks, Payload::Path(name)) => identity::describe_cluster(&call, &name).map(Content::Json),
            (Service::Arc, Payload::Path(arn)) => identity::get_managed_resource(&call, &arn).map(Content::Json),
            _ => Err(Refusal::invalid_action(&self.action)),
        };
        let touched = call.touched;
        Reply { outcome, touched }
    }
}

/// A part of a path as it was meant.
fn percent_decoded(text: &str) -> String {
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(&format!("x={}", text.replace('+', "%2B"))).unwrap_or_default();
    pairs.into_iter().next().map_or_else(String::new, |(_, value)| value)
}

/// The parameters as `name=value` with long values cut.
fn shortened_query(body: &[u8]) -> String {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(body).unwrap_or_default();
    let shown = pairs.iter().filter(|(name, _)| name != "Action" && name != "Version");
    let texts: Vec<String> =
        shown.map(|(name, value)| format!("{name}={}", shortened(value, RECORDED_VALUE_MAX))).collect();
    shortened(&texts.join(" "), RECORDED_MAX)
}

fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
