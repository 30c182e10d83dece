//! How the SDK reaches the cloud: credentials, transport, time. The one room that tells a real cloud from another endpoint,
//! and only by its URL.

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_ec2::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_async::{rt::sleep::TokioSleep, time::TimeSource};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt, Limited};
use sawhorse_ambient::Clock;
use std::{fmt, time::Duration};
use tower::ServiceExt;

/// The longest that one attempt of a call may take: CreateFleet can take many seconds, nothing takes minutes.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest that a connection may take to be made, as the SDK has it.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);
/// The largest answer that is read in process: a page of DescribeInstanceTypes is about 1 MiB.
const MAX_BODY_BYTES: usize = 64 << 20;

/// The clients of the AWS services that the provider calls.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Machines, networks, images.
    pub ec2: aws_sdk_ec2::Client,
    /// Ids of the images that AWS publishes.
    pub ssm: aws_sdk_ssm::Client,
    /// What happens to machines.
    pub sqs: aws_sdk_sqs::Client,
    /// Who machines are.
    pub iam: aws_sdk_iam::Client,
    /// On-demand prices; its API lives in few regions.
    pub pricing: aws_sdk_pricing::Client,
}

impl Clients {
    /// Clients for `region` over the transport, credentials and time of `config`.
    pub fn new(config: &SdkConfig, region: &str) -> Self {
        let in_region = |region: &str| config.to_builder().region(Region::new(region.to_owned())).build();
        let here = in_region(region);
        Self {
            ec2: aws_sdk_ec2::Client::new(&here),
            ssm: aws_sdk_ssm::Client::new(&here),
            sqs: aws_sdk_sqs::Client::new(&here),
            iam: aws_sdk_iam::Client::new(&here),
            pricing: aws_sdk_pricing::Client::new(&in_region(pricing_region(region))),
        }
    }
}

/// The region whose price list service answers for `region` (spec aws 2.7).
fn pricing_region(region: &str) -> &'static str {
    match region.split('-').next().unwrap_or_default() {
        "ap" => "ap-south-1",
        "eu" => "eu-central-1",
        "cn" => "cn-northwest-1",
        _ => "us-east-1",
    }
}

/// The SDK's configuration for a cloud that is reached over the network: credentials (and the region, where none is given)
/// come from the default chain, HTTPS is rustls with ring. `endpoint_url` replaces the endpoints of all services. `speed` seconds
/// of the clock pass in one of the network: 1, but in fast motion.
pub async fn sdk_config(region: Option<String>, endpoint_url: Option<String>, clock: Clock, speed: u32) -> SdkConfig {
    let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(https)
        .sleep_impl(TokioSleep::new())
        .time_source(ClockTime(clock))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts(speed));
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    if let Some(url) = endpoint_url {
        loader = loader.endpoint_url(url);
    }
    loader.load().await
}

/// The SDK's configuration for a cloud behind `http`, e.g. [`InProcess`]: it reads nothing of its surroundings, so it runs in
/// virtual time.
pub fn sdk_config_over(
    http: impl HttpClient + 'static,
    region: &str,
    credentials: Credentials,
    clock: Clock,
) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http)
        .sleep_impl(TokioSleep::new())
        .time_source(ClockTime(clock))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts(1))
        .build()
}

// The SDK's own retries are off: their jitter is drawn from an unseeded generator. `Calls` retries instead.
fn timeouts(speed: u32) -> TimeoutConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT * speed);
    timeouts.connect_timeout(CONNECT_TIMEOUT * speed).build()
}

/// The program's clock as the SDK's source of time, so that signatures carry virtual time too.
#[derive(Debug)]
struct ClockTime(Clock);

impl TimeSource for ClockTime {
    fn now(&self) -> std::time::SystemTime {
        std::time::SystemTime::from(self.0.now())
    }
}

/// A transport that calls an axum router directly: no socket, so that it works in virtual time.
#[derive(Clone)]
pub struct InProcess(
    /// What answers.
    pub axum::Router,
);

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl HttpClient for InProcess {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let router = self.0.clone();
        HttpConnectorFuture::new(async move { call_router(router, request).await })
    }
}

async fn call_router(router: axum::Router, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = request.try_into_http1x().map_err(|error| ConnectorError::other(error.into(), None))?;
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(ConnectorError::io)?.to_bytes();
    let Ok(response) = router.oneshot(http::Request::from_parts(parts, axum::body::Body::from(body))).await;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(ConnectorError::io)?;
    let status =
        StatusCode::try_from(parts.status.as_u16()).map_err(|error| ConnectorError::other(error.into(), None))?;
    let mut answer = HttpResponse::new(status, SdkBody::from(body.to_bytes().to_vec()));
    for (name, value) in &parts.headers {
        if let Ok(value) = value.to_str() {
            answer.headers_mut().append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::pricing_region;

    #[rstest::rstest]
    #[case("us-west-2", "us-east-1")]
    #[case("ap-southeast-2", "ap-south-1")]
    #[case("eu-west-1", "eu-central-1")]
    #[case("cn-north-1", "cn-northwest-1")]
    #[case("sa-east-1", "us-east-1")]
    fn prices_are_asked_for_where_their_service_lives(#[case] region: &str, #[case] expected: &str) {
        assert_eq!(pricing_region(region), expected);
    }
}
