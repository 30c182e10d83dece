//! One call to the cloud: retried while that may help, timed and reported.

use super::{
    error::{cloud_error, unusable},
    pace::{Paces, Urgency},
};
use crate::cloud::CloudError;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use sawhorse_ambient::{Clock, Seed};
use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How often a call is sent at most, the first time included; the SDK's standard.
const MAX_ATTEMPTS: u32 = 3;
/// Of these, those that were only told to slow down: with each of them the calls come slower.
const MAX_THROTTLED: u32 = 8;
/// The longest wait before the second attempt; doubled for each further one. The SDK's standard.
const FIRST_BACKOFF_MS: u64 = 1_000;
/// Pages of one listing that are read at most: at 100 to 2,000 items a page that is far beyond any account.
const MAX_PAGES: usize = 1_000;

/// What became of one attempt of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The API operation, e.g. `CreateFleet`.
    pub operation: &'static str,
    /// None if it succeeded, else the cloud's code, or `Transport` where there was no usable answer.
    pub error_code: Option<String>,
    /// From sending to the answer.
    pub duration: Duration,
}

/// Told of every attempt of every call, e.g. to count them for a summary or in metrics.
pub trait CallObserver: Send + Sync {
    /// `call` has ended.
    fn called(&self, call: &Call);
}

/// Sends calls.
pub(super) struct Calls {
    clock: Clock,
    seed: Seed,
    observer: Option<Arc<dyn CallObserver>>,
    /// How often each operation had to wait for another attempt: names the stream that the wait is drawn from.
    waits: Mutex<BTreeMap<&'static str, u64>>,
    paces: Mutex<Paces>,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("waits", &self.waits).finish_non_exhaustive()
    }
}

impl Calls {
    pub(super) fn new(clock: Clock, seed: Seed, observer: Option<Arc<dyn CallObserver>>) -> Self {
        Self { clock, seed, observer, waits: Mutex::default(), paces: Mutex::default() }
    }

    /// Sends what `request` makes until it succeeds, its error will not pass, or the attempts are used up. Only for requests
    /// that may be repeated: reads, and writes with a client token or a definite target.
    pub(super) async fn send<T, E, F>(&self, operation: &'static str, request: impl Fn() -> F) -> Result<T, CloudError>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        self.send_as(Urgency::Usual, operation, request).await
    }

    /// The same, before those of lesser urgency where calls have to wait.
    pub(super) async fn send_as<T, E, F>(
        &self,
        urgency: Urgency,
        operation: &'static str,
        request: impl Fn() -> F,
    ) -> Result<T, CloudError>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (mut attempt, mut throttled) = (1, 0);
        loop {
            self.wait_for_place(operation, urgency).await;
            match self.once(operation, request()).await {
                Err(CloudError::Throttled { .. }) if throttled + 1 < MAX_THROTTLED => {
                    throttled += 1;
                    self.paces().throttled(operation, self.clock.elapsed());
                    self.back_off(operation, throttled.min(MAX_ATTEMPTS)).await;
                }
                Err(error @ CloudError::Throttled { .. }) => return Err(error),
                Err(error) if attempt < MAX_ATTEMPTS && error.may_pass() => {
                    self.back_off(operation, attempt).await;
                    attempt += 1;
                }
                outcome => {
                    if outcome.is_ok() {
                        self.paces().succeeded(operation);
                    }
                    return outcome;
                }
            }
        }
    }

    fn paces(&self) -> MutexGuard<'_, Paces> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is this call's turn, if calls of the operation have to wait for one another.
    async fn wait_for_place(&self, operation: &'static str, urgency: Urgency) {
        let now = self.clock.elapsed();
        let at = self.paces().reserve(operation, urgency, now);
        if at > now {
            tokio::time::sleep(at - now).await;
        }
    }

    async fn once<T, E, F>(&self, operation: &'static str, request: F) -> Result<T, CloudError>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let sent = self.clock.elapsed();
        // The SDK's futures are large: kept on the heap, they do not swell every caller's.
        let outcome = Box::pin(request).await.map_err(|error| cloud_error(operation, error));
        if let Some(observer) = &self.observer {
            let error_code = outcome.as_ref().err().map(error_code);
            observer.called(&Call { operation, error_code, duration: self.clock.elapsed().saturating_sub(sent) });
        }
        outcome
    }

    /// Waits between half and all of the exponential backoff, drawn from the seed.
    async fn back_off(&self, operation: &'static str, attempt: u32) {
        let nth = {
            let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
            let nth = waits.entry(operation).or_default();
            *nth += 1;
            *nth
        };
        let longest = FIRST_BACKOFF_MS << (attempt - 1);
        let wait = self.seed.stream(&["aws-backoff", operation, &nth.to_string()]).between(longest / 2, longest);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}

fn error_code(error: &CloudError) -> String {
    match error {
        CloudError::Rejected { code, .. } => code.clone(),
        CloudError::Throttled { .. } => "RequestLimitExceeded".to_owned(),
        CloudError::Transport { .. } => "Transport".to_owned(),
        CloudError::InsufficientCapacity { .. } | CloudError::NodeClassNotReady { .. } => "Other".to_owned(),
    }
}

/// Everything on all pages of a listing: `page` is given the token of the page to read and returns its items and the next
/// token. A page may be empty and not the last (spec aws 7.2).
pub(super) async fn all_pages<T, F>(
    operation: &'static str,
    mut page: impl FnMut(Option<String>) -> F,
) -> Result<Vec<T>, CloudError>
where
    F: Future<Output = Result<(Vec<T>, Option<String>), CloudError>>,
{
    let mut items = Vec::new();
    let mut token = None;
    for _ in 0..MAX_PAGES {
        let (more, next) = page(token).await?;
        items.extend(more);
        token = next.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(items);
        }
    }
    Err(unusable(operation, format!("the listing has more than {MAX_PAGES} pages")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::operation::describe_subnets::DescribeSubnetsError;
    use aws_smithy_types::error::ErrorMetadata;
    use std::cell::Cell;

    #[derive(Default)]
    struct Seen(Mutex<Vec<Call>>);
    impl CallObserver for Seen {
        fn called(&self, call: &Call) {
            self.0.lock().unwrap().push(call.clone());
        }
    }

    fn refusal(code: &str) -> SdkError<DescribeSubnetsError> {
        let error = DescribeSubnetsError::generic(ErrorMetadata::builder().code(code).message("no").build());
        SdkError::service_error(error, aws_smithy_runtime_api::http::Response::new(503.try_into().unwrap(), "".into()))
    }

    #[expect(clippy::result_large_err, reason = "the error is the SDK's")]
    async fn run(outcomes: &[Option<&'static str>]) -> (Result<u32, CloudError>, Vec<Option<String>>, Duration) {
        let clock = Clock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let seen = Arc::new(Seen::default());
        let calls = Calls::new(clock, Seed(1), Some(seen.clone()));
        let sent = Cell::new(0_u32);
        let request = || {
            let outcome = outcomes[sent.get() as usize];
            sent.set(sent.get() + 1);
            std::future::ready(outcome.map_or(Ok(sent.get()), |code| Err(refusal(code))))
        };
        let outcome = calls.send("DescribeSubnets", request).await;
        let codes = seen.0.lock().unwrap().iter().map(|call| call.error_code.clone()).collect();
        (outcome, codes, clock.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_call_is_sent_again_after_a_wait() {
        let (outcome, codes, waited) = run(&[Some("RequestLimitExceeded"), None]).await;
        assert_eq!(outcome.unwrap(), 2);
        assert_eq!(codes, [Some("RequestLimitExceeded".to_owned()), None]);
        assert!(waited >= Duration::from_millis(500) && waited <= Duration::from_millis(1_001), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn three_attempts_are_all_and_eight_where_it_is_only_too_fast() {
        let (outcome, codes, _) = run(&[Some("InternalError"); 4]).await;
        assert!(outcome.unwrap_err().has_code("InternalError"));
        assert_eq!(codes.len(), 3);
        let (outcome, codes, _) = run(&[Some("RequestLimitExceeded"); 9]).await;
        assert!(matches!(outcome, Err(CloudError::Throttled { operation: "DescribeSubnets" })));
        assert_eq!(codes.len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_will_not_pass_is_not_repeated() {
        let (outcome, codes, waited) = run(&[Some("UnauthorizedOperation"), None]).await;
        assert!(outcome.unwrap_err().has_code("UnauthorizedOperation"));
        assert_eq!((codes.len(), waited), (1, Duration::ZERO));
    }

    #[tokio::test]
    async fn empty_pages_are_not_the_end() {
        let pages = [(vec![1], Some("a")), (vec![], Some("b")), (vec![2], Some(""))];
        let next = Cell::new(0);
        let all = all_pages("DescribeSubnets", |_| {
            let (items, token) = pages[next.get()].clone();
            next.set(next.get() + 1);
            std::future::ready(Ok((items, token.map(str::to_owned))))
        });
        assert_eq!(all.await.unwrap(), [1, 2]);
    }
}
