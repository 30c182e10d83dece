//! A runtime whose time passes faster, and a client whose answers are in that time.

use super::times::Times;
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, future::BoxFuture, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper_util::{client::legacy, rt::TokioExecutor};
use kube::{
    Client, Config,
    client::{Body, ConfigExt, retry::RetryPolicy},
};
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    task::{Context, Poll},
    time::Duration,
};
use tower::{BoxError, Layer, Service, ServiceBuilder, retry::RetryLayer};

/// How often time is moved on, in real time: each time costs two threads' waking.
const TICK: Duration = Duration::from_millis(5);
/// The most by which time is moved at once, so that what falls due in between still happens in order.
const STRIDE: Duration = Duration::from_millis(100);
/// How long a connection that nothing is sent over is kept, in real time. API servers close them after 90 seconds, which is also
/// the pool's own limit: a request could meet a connection as it closes, and fail.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);

/// Runs `future` on a runtime of its own, in which `speed` seconds pass in each real one.
///
/// # Errors
/// The runtime cannot be made.
pub fn in_fast_motion<T>(speed: u32, future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    Ok(runtime.block_on(async {
        let (ticks, mut due) = tokio::sync::mpsc::unbounded_channel();
        let (stop, stopped) = channel::<()>();
        // A blocking task also keeps tokio from moving time by itself when nothing is left to do.
        #[expect(clippy::disallowed_methods, reason = "it is this thread that makes time pass")]
        let ticker = tokio::task::spawn_blocking(move || {
            let began = std::time::Instant::now();
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) && ticks.send(began.elapsed()).is_ok() {}
        });
        let pass = async {
            let mut passed = Duration::ZERO;
            while let Some(mut real) = due.recv().await {
                while let Ok(later) = due.try_recv() {
                    real = later;
                }
                while passed < real * speed {
                    let stride = (real * speed).saturating_sub(passed).min(STRIDE);
                    tokio::time::advance(stride).await;
                    passed += stride;
                }
            }
            std::future::pending::<()>().await;
        };
        let outcome = tokio::select! {
            biased;
            outcome = future => outcome,
            () = pass => unreachable!("time passes for ever"),
        };
        drop(stop);
        // The ticker has nothing to say.
        let _ = ticker.await;
        outcome
    }))
}

/// A client of a cluster for a program that lives in fast motion by itself, beside the run.
///
/// # Errors
/// The configuration cannot be used, e.g. for its certificates.
pub fn client_in_fast_motion(config: Config, times: Times) -> kube::Result<Client> {
    client(config, times, Arc::default())
}

/// A client of a cluster whose answers are in the run's time; `requests` counts what it sends.
///
/// # Errors
/// The configuration cannot be used, e.g. for its certificates.
pub(super) fn client(config: Config, times: Times, requests: Arc<AtomicU64>) -> kube::Result<Client> {
    // Without timeouts: the client's own would be in the run's time, the server's are not.
    let connections = legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .build(config.rustls_https_connector()?);
    let service = ServiceBuilder::new()
        .layer(Translated { times, requests })
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(connections);
    Ok(Client::new(service, config.default_namespace))
}

#[derive(Clone)]
struct Translated {
    times: Times,
    requests: Arc<AtomicU64>,
}

impl<S> Layer<S> for Translated {
    type Service = Translator<S>;

    fn layer(&self, inner: S) -> Translator<S> {
        Translator { inner, way: self.clone() }
    }
}

struct Translator<S> {
    inner: S,
    way: Translated,
}

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

impl<S, B> Service<Request<Body>> for Translator<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Answer;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.way.requests.fetch_add(1, Ordering::Relaxed);
        let times = self.way.times;
        if times.speed == 1 {
            let answer = self.inner.call(request);
            return async move { Ok(answer.await.map_err(Into::into)?.map(|body| body.map_err(Into::into).boxed_unsync())) }
                .boxed();
        }
        let (parts, body) = request.into_parts();
        let is_watch = parts.uri.query().is_some_and(|query| query.contains("watch=true") || query.contains("watch=1"));
        // What kube sends is in memory.
        let body = body.collect_bytes().now_or_never().expect("the body is there").unwrap_or_default();
        let body = translated(&body, |value| times.of_cluster(value));
        let answer = self.inner.call(Request::from_parts(parts, Body::from(body)));
        async move {
            let (mut parts, body) = answer.await.map_err(Into::into)?.into_parts();
            parts.headers.remove(http::header::CONTENT_LENGTH);
            let frames = lines(body.into_data_stream().map_err(Into::into).boxed(), is_watch);
            let frames = frames.map_ok(move |bytes| Frame::data(translated(&bytes, |value| times.of_run(value))));
            Ok(Response::from_parts(parts, StreamBody::new(frames).boxed_unsync()))
        }
        .boxed()
    }
}

/// What is not JSON stays as it is.
fn translated(bytes: &Bytes, translate: impl Fn(&mut Value)) -> Bytes {
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else { return bytes.clone() };
    translate(&mut value);
    let mut text = value.to_string();
    if bytes.ends_with(b"\n") {
        text.push('\n');
    }
    text.into()
}

/// The pieces of a body put together: line by line, or all in one.
fn lines(
    body: impl Stream<Item = Result<Bytes, BoxError>> + Send + Unpin + 'static,
    by_line: bool,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
    stream::try_unfold((body, Vec::new(), false), move |(mut body, mut held, mut ended)| async move {
        loop {
            let line = held.iter().position(|byte| *byte == b'\n').filter(|_| by_line);
            if let Some(end) = line {
                let rest = held.split_off(end + 1);
                return Ok(Some((Bytes::from(held), (body, rest, ended))));
            }
            if ended {
                let last = (!held.is_empty()).then(|| (Bytes::from(held), (body, Vec::new(), true)));
                return Ok(last);
            }
            match body.next().await {
                Some(piece) => held.extend_from_slice(&piece?),
                None => ended = true,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{in_fast_motion, lines};
    use bytes::Bytes;
    use futures::{StreamExt, TryStreamExt, stream};
    use rstest::rstest;
    use sawhorse_ambient::Clock;
    use std::time::Duration;

    #[rstest]
    #[case(true, &["a\n", "bc\n", "d"])]
    #[case(false, &["a\nbc\nd"])]
    fn bodies_are_put_together(#[case] by_line: bool, #[case] wanted: &[&str]) {
        let pieces = stream::iter(["a", "\nb", "c\nd"].map(|piece| Ok(Bytes::from(piece)))).boxed();
        let lines = futures::executor::block_on(lines(pieces, by_line).try_collect::<Vec<_>>()).unwrap();
        assert_eq!(lines, wanted);
    }

    #[test]
    fn an_hour_passes_quickly_and_in_order() {
        let seen = in_fast_motion(3600, async {
            let clock = Clock::from_system();
            let mut order = Vec::new();
            let (mut early, mut late) = (
                Box::pin(tokio::time::sleep(Duration::from_secs(60))),
                Box::pin(tokio::time::sleep(Duration::from_secs(3600))),
            );
            loop {
                tokio::select! {
                    biased;
                    () = &mut late => { order.push("late"); break (order, clock.elapsed()) }
                    () = &mut early, if order.is_empty() => order.push("early"),
                }
            }
        });
        let (order, elapsed) = seen.unwrap();
        assert_eq!(order, ["early", "late"]);
        assert!(elapsed >= Duration::from_secs(3600));
    }
}
