//! SQS in its JSON protocol: queues, messages, and receivers that wait.

use super::{
    Call, JsonAnswer,
    error::Refusal,
    event_json::envelope,
    page::{Page, with_next},
};
use crate::{
    app::SharedWorld,
    world::{Body, Message, Queue, QueueSettings, World},
};
use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};

/// SQS' limits: messages of one request, seconds of waiting, of hiding and of keeping, bytes of a body.
const BATCH_MAX: usize = 10;
const WAIT_MAX: i64 = 20;
const HIDE_MAX: i64 = 43_200;
const DELAY_MAX: i64 = 900;
const KEEP: std::ops::RangeInclusive<i64> = 60..=1_209_600;
const BODY_MAX: usize = 256 * 1024;
const LIST_MAX: u32 = 1_000;

/// Attributes that the world keeps but does not act on.
const KEPT: [&str; 10] = [
    "ContentBasedDeduplication",
    "FifoQueue",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "MaximumMessageSize",
    "Policy",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
    "DeduplicationScope",
];

/// Carries out an operation of SQS.
pub(crate) fn operation(call: &mut Call<'_>, body: Value) -> JsonAnswer {
    match call.action {
        "ChangeMessageVisibility" => change_visibility(call, body),
        "CreateQueue" => create_queue(call, body),
        "DeleteMessage" => delete_message(call, body),
        "DeleteMessageBatch" => delete_batch(call, body),
        "DeleteQueue" => delete_queue(call, body),
        "GetQueueAttributes" => get_attributes(call, body),
        "GetQueueUrl" => get_url(call, body),
        "ListQueues" => list(call, body),
        "PurgeQueue" => purge(call, body),
        "ReceiveMessage" => receive(call, body),
        "SendMessage" => send(call, body),
        "SendMessageBatch" => send_batch(call, body),
        "SetQueueAttributes" => set_attributes(call, body),
        unknown => Err(Refusal::bad("UnknownOperationException", format!("The operation {unknown} is not served."))),
    }
}

/// How long a receiver waits for a message, and of which queue.
pub(crate) struct Waiting {
    queue: String,
    wait: Option<i64>,
}

impl Waiting {
    /// What a `ReceiveMessage` says of it.
    pub(crate) fn of(action: &str, body: &Value) -> Option<Self> {
        let queue = (action == "ReceiveMessage").then(|| body.get("QueueUrl")?.as_str()).flatten()?;
        let wait = body.get("WaitTimeSeconds").and_then(Value::as_i64);
        Some(Self { queue: name_in(queue).to_owned(), wait })
    }

    /// Waits until a message can be received, or the time is over, or the queue is gone.
    pub(crate) async fn over(&self, world: &SharedWorld) {
        let set = world.with(|world| world.queue(&self.queue).map(|queue| queue.settings.receive_wait.as_secs()));
        let Ok(set) = set else { return };
        let wait = u64::try_from(self.wait.unwrap_or(set).clamp(0, WAIT_MAX)).unwrap_or(0);
        // That the time is over is an answer too: there is no message.
        let _ = tokio::time::timeout(Duration::from_secs(wait), self.message(world)).await;
    }

    async fn message(&self, world: &SharedWorld) {
        let mut seen = 0;
        loop {
            let (next, now) = world.with(|world| (world.next_visible(&self.queue), world.now()));
            let Ok(next) = next else { return };
            if next.is_some_and(|next| next <= now) {
                return;
            }
            let hidden = async {
                match next {
                    Some(next) => world.clock().sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                version = world.changed(seen) => seen = version,
                () = hidden => {}
            }
        }
    }
}

fn create_queue(call: &mut Call<'_>, body: Value) -> JsonAnswer {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Request {
        queue_name: String,
        #[serde(default)]
        attributes: BTreeMap<String, String>,
    }
    let Request { queue_name, attributes } = read(body)?;
    let (settings, other) = settings(QueueSettings::default(), attributes)?;
    call.world.create_queue(&queue_name, settings, other)?;
    call.touched.push(queue_name.clone());
    Ok(json!({"QueueUrl": call.queue_url(&queue_name)}))
}

/// The settings with the attributes over them, and the attributes that are kept only.
fn settings(
    mut settings: QueueSettings,
    attributes: BTreeMap<String, String>,
) -> Result<(QueueSettings, BTreeMap<String, String>), Refusal> {
    let mut other = BTreeMap::new();
    for (name, value) in attributes {
        let seconds = |range: std::ops::RangeInclusive<i64>| {
            let number = value.parse().ok().filter(|number| range.contains(number));
            number.map(SignedDuration::from_secs).ok_or_else(|| {
                let text = format!("Invalid value for the parameter {name}.");
                Refusal::bad("InvalidAttributeValue", text)
            })
        };
        match name.as_str() {
            "VisibilityTimeout" => settings.visibility_timeout = seconds(0..=HIDE_MAX)?,
            "MessageRetentionPeriod" => settings.retention = seconds(KEEP)?,
            "DelaySeconds" => settings.delay = seconds(0..=DELAY_MAX)?,
            "ReceiveMessageWaitTimeSeconds" => settings.receive_wait = seconds(0..=WAIT_MAX)?,
            kept if KEPT.contains(&kept) => {
                other.insert(name, value);
            }
            unknown => {
                let text = format!("Unknown Attribute {unknown}.");
                return Err(Refusal::bad("InvalidAttributeName", text));
            }
        }
    }
    Ok((settings, other))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfQueue {
    queue_url: String,
}

fn get_url(call: &Call<'_>, body: Value) -> JsonAnswer {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Request {
        queue_name: String,
    }
    let Request { queue_name } = read(body)?;
    call.world.queue(&queue_name)?;
    Ok(json!({"QueueUrl": call.queue_url(&queue_name)}))
}

fn list(call: &Call<'_>, body: Value) -> JsonAnswer {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Request {
        #[serde(default)]
        queue_name_prefix: String,
        max_results: Option<u32>,
        next_token: Option<String>,
    }
    let Request { queue_name_prefix, max_results, next_token } = read(body)?;
    let size = max_results.unwrap_or(LIST_MAX);
    if !(1..=LIST_MAX).contains(&size) {
        return Err(invalid(&format!("Value {size} for parameter MaxResults is invalid. Reason: Must be 1 to 1000.")));
    }
    let page = Page::new("ListQueues", size, next_token);
    let names = call.world.queues().map(|queue| &queue.name).filter(|name| name.starts_with(&queue_name_prefix));
    let (names, next) = page.cut(names, |name| (*name).clone())?;
    let urls: Vec<String> = names.into_iter().map(|name| call.queue_url(name)).collect();
    Ok(with_next(json!({"QueueUrls": urls}), next))
}

fn delete_queue(call: &mut Call<'_>, body: Value) -> JsonAnswer {
    let OfQueue { queue_url } = read(body)?;
    call.world.delete_queue(name_in(&queue_url))?;
    Ok(json!({}))
}

fn purge(call: &mut Call<'_>, body: Value) -> JsonAnswer {
    let OfQueue { queue_url } = read(body)?;
    call.world.purge_queue(name_in(&queue_url))?;
    Ok(json!({}))
}

fn get_attributes(call: &Call<'_>, body: Value) -> JsonAnswer {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Request {
        queue_url: String,
        #[serde(default)]
        attribute_names: Vec<String>,
    }
    let Request { queue_url, attribute_names } = read(body)?;
    let all = attributes(call, call.world.queue(name_in(&queue_url))?);
    let wanted = |name: &String| attribute_names.iter().any(|wanted| wanted == "All" || wanted == name);
    if let Some(unknown) = attribute_names.iter().find(|name| *name != "All" && !all.contains_key(*name)) {
        let known = KEPT.contains(&unknown.as_str());
        if !known {
            return Err(Refusal::bad("InvalidAttributeName", format!("Unknown Attribute {unknown}.")));
        }
    }
    let shown: Map<String, Value> =
        all.into_iter().filter(|(name, _)| wanted(name)).map(|(name, value)| (name, json!(value))).collect();
    Ok(if shown.is_empty() { json!({}) } else { json!({"Attributes": shown}) })
}

fn attributes(call: &Call<'_>, queue: &Queue) -> BTreeMap<String, String> {
    let counts = queue.counts(call.world.now());
    let own = [
        ("ApproximateNumberOfMessages", counts.visible.to_string()),
        ("ApproximateNumberOfMessagesNotVisible", counts.in_flight.to_string()),
        ("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string()),
        ("CreatedTimestamp", queue.created.as_second().to_string()),
        ("LastModifiedTimestamp", queue.modified.as_second().to_string()),
        ("DelaySeconds", queue.settings.delay.as_secs().to_string()),
        ("MaximumMessageSize", BODY_MAX.to_string()),
        ("MessageRetentionPeriod", queue.settings.retention.as_secs().to_string()),
        ("QueueArn", format!("arn:aws:sqs:{}:{}:{}", call.world.region(), call.account(), queue.name)),
        ("ReceiveMessageWaitTimeSeconds", queue.settings.receive_wait.as_secs().to_string()),
        ("SqsManagedSseEnabled", "true".to_owned()),
        ("VisibilityTimeout", queue.settings.visibility_timeout.as_secs().to_string()),
    ];
    let mut all: BTreeMap<String, String> = own.map(|(name, value)| (name.to_owned(), value)).into();
    all.extend(queue.other.clone());
    all
}

fn set_attributes(call: &mut Call<'_>, body: Value) -> JsonAnswer {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Request {
        queue_url: String,
        #[serde(default)]
        attributes: BTreeMap<String, String>,
    }
    let Request { queue_url, attributes } = read(body)?;
    let name = name_in(&queue_url);
    let (settings, other) = settings(call.world.queue(name)?.settings, attributes)?;
    call.world.set_queue(name, settings, other)?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sent {
    #[serde(default)]
    id: String,
    message_body: String,
    delay_seconds: Option<i64>,
    #[serde(default)]
    message_attributes: Map<String, Value>,
}

fn send(call: &mut Call<'_>, body: Value) -> JsonAnswer {
    let OfQueue { queue_url } = read(body.clone())?;
    send_one(call, name_in(&queue_url), read(body)?)
}

fn send_one(call: &mut Call<'_>, queue: &str, sent: Sent) -> JsonAnswer {
    if sent.message_body.is_empty() {
        return Err(Refusal::bad("MissingParameter", "The request must contain the parameter MessageBody."));
    }
    if sent.message_body.len() > BODY_MAX {
        let text =
            format!("One or more parameters are invalid. Reason: Message must be shorter than {BODY_MAX} bytes.");
        return Err(invalid(&text));
    }
    if !sent.message_attributes.is_empty() {
        return Err(Refusal::bad("UnsupportedOperation", "Message attributes are not kept: put it into the body."));
    }
    let delay = sent.delay_seconds.map(|seconds| {
        let allowed = (0..=DELAY_MAX).contains(&seconds);
        let text = format!("Value {seconds} for parameter DelaySeconds is invalid. Reason: Must be 0 to {DELAY_MAX}.");
        if allowed { Ok(SignedDuration::from_secs(seconds)) } else { Err(invalid(&text)) }
    });
    let digest = md5(&sent.message_body);
    let id = call.world.send_message(queue, Body::Text(sent.message_body), delay.transpose()?)?;
    Ok(json!({"MessageId": id, "MD5OfMessageBody": digest}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch<T> {
    queue_url: String,
    #[serde(default = "Vec::new")]
    entries: Vec<T>,
}

fn send_batch(call: &mut Call<'_>, body: Value) -> JsonAnswer {
    let Batch::<Sent> { queue_url, entries } = read(body)?;
    call.world.queue(name_in(&queue_url))?;
    check_batch(entries.iter().map(|entry| entry.id.as_str()))?;
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        let id = entry.id.clone();
        match send_one(call, name_in(&queue_url), entry) {
            Ok(mut sent) => {
                sent["Id"] = json!(id);
                successful.push(sent);
            }
            Err(refusal) => failed.push(failure(&id, &refusal)),
        }
    }
    Ok(json!({"Successful": successful, "Failed": failed}))
}

fn failure(id: &str, refusal: &Refusal) -> Value {
    json!({"Id": id, "SenderFault": true, "Code": refusal.code, "Message": refusal.message})
}

fn check_batch<'e>(ids: impl ExactSizeIterator<Item = &'e str>) -> Result<(), Refusal> {
    let count = ids.len();
    if count == 0 {
        let text = "There should be at least one entry in the request.";
        return Err(Refusal::bad("AWS.SimpleQueueService.EmptyBatchRequest", text));
    }
    if count > BATCH_MAX {
        let text = format!("Maximum number of entries per request are {BATCH_MAX}. You have sent {count}.");
        return Err(Refusal::bad("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", text));
    }
    let distinct: std::collections::BTreeSet<&str> = ids.collect();
    if distinct.len() < count {
        return Err(Refusal::bad("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "Two or more ids are the same."));
    }
    Ok(())
}

fn receive(call: &mut Call<'_>, body: Value) -> JsonAnswer {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Request {
        queue_url: String,
        max_number_of_messages: Option<i64>,
        visibility_timeout: Option<i64>,
        wait_time_seconds: Option<i64>,
        #[serde(default)]
        attribute_names: Vec<String>,
        #[serde(default)]
        message_system_attribute_names: Vec<String>,
    }
    let request: Request = read(body)?;
    let most = in_range("MaxNumberOfMessages", request.max_number_of_messages.unwrap_or(1), 1..=BATCH_MAX as i64)?;
    in_range("WaitTimeSeconds", request.wait_time_seconds.unwrap_or(0), 0..=WAIT_MAX)?;
    let hidden = request.visibility_timeout.map(|seconds| in_range("VisibilityTimeout", seconds, 0..=HIDE_MAX));
    let hidden = hidden.transpose()?.map(SignedDuration::from_secs);
    let most = usize::try_from(most).unwrap_or(1);
    let messages = call.world.receive_messages(name_in(&request.queue_url), most, hidden)?;
    let names = [request.attribute_names, request.message_system_attribute_names].concat();
    let shown: Vec<Value> = messages.iter().map(|message| described(call.world, message, &names)).collect();
    Ok(if shown.is_empty() { json!({}) } else { json!({"Messages": shown}) })
}

fn described(world: &World, message: &Message, names: &[String]) -> Value {
    let body = match &message.body {
        Body::Text(text) => text.clone(),
        Body::Event(event) => envelope(world, event).to_string(),
    };
    let millis = |time: Timestamp| time.as_millisecond().to_string();
    let all = [
        ("ApproximateFirstReceiveTimestamp", message.first_received.map(millis).unwrap_or_default()),
        ("ApproximateReceiveCount", message.received.to_string()),
        ("SenderId", "AIDASAWHORSE".to_owned()),
        ("SentTimestamp", millis(message.sent)),
    ];
    let wanted = |name: &str| names.iter().any(|wanted| wanted == "All" || wanted == name);
    let shown = all.into_iter().filter(|(name, _)| wanted(name)).map(|(name, value)| (name.to_owned(), json!(value)));
    let attributes: Map<String, Value> = shown.collect();
    let mut described = json!({
        "MessageId": message.id,
        "ReceiptHandle": message.receipt,
        "MD5OfBody": md5(&body),
        "Body": body,
    });
    if !attributes.is_empty() {
        described["Attributes"] = Value::Object(attributes);
    }
    described
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfMessage {
    #[serde(default)]
    queue_url: String,
    #[serde(default)]
    id: String,
    receipt_handle: String,
    visibility_timeout: Option<i64>,
}

fn delete_message(call: &mut Call<'_>, body: Value) -> JsonAnswer {
    let OfMessage { queue_url, receipt_handle, .. } = read(body)?;
    check_receipt(&receipt_handle)?;
    call.world.delete_message(name_in(&queue_url), &receipt_handle)?;
    Ok(json!({}))
}

fn delete_batch(call: &mut Call<'_>, body: Value) -> JsonAnswer {
    let Batch::<OfMessage> { queue_url, entries } = read(body)?;
    call.world.queue(name_in(&queue_url))?;
    check_batch(entries.iter().map(|entry| entry.id.as_str()))?;
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for OfMessage { id, receipt_handle, .. } in entries {
        let outcome = check_receipt(&receipt_handle)
            .and_then(|()| Ok(call.world.delete_message(name_in(&queue_url), &receipt_handle)?));
        match outcome {
            Ok(()) => successful.push(json!({"Id": id})),
            Err(refusal) => failed.push(failure(&id, &refusal)),
        }
    }
    Ok(json!({"Successful": successful, "Failed": failed}))
}

fn change_visibility(call: &mut Call<'_>, body: Value) -> JsonAnswer {
    let OfMessage { queue_url, receipt_handle, visibility_timeout, .. } = read(body)?;
    check_receipt(&receipt_handle)?;
    let seconds = in_range("VisibilityTimeout", visibility_timeout.unwrap_or(-1), 0..=HIDE_MAX)?;
    call.world.change_visibility(name_in(&queue_url), &receipt_handle, SignedDuration::from_secs(seconds))?;
    Ok(json!({}))
}

/// Receipts are a number, a hyphen and 32 digits.
fn check_receipt(receipt: &str) -> Result<(), Refusal> {
    let well_formed = receipt.split_once('-').is_some_and(|(number, draw)| {
        number.bytes().all(|byte| byte.is_ascii_digit())
            && draw.len() == 32
            && draw.bytes().all(|b| b.is_ascii_hexdigit())
    });
    let text = format!("The input receipt handle \"{receipt}\" is not a valid receipt handle.");
    if well_formed { Ok(()) } else { Err(Refusal::bad("ReceiptHandleIsInvalid", text)) }
}

fn in_range(name: &str, value: i64, range: std::ops::RangeInclusive<i64>) -> Result<i64, Refusal> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (low, high) = (range.start(), range.end());
    let text = format!("Value {value} for parameter {name} is invalid. Reason: Must be between {low} and {high}.");
    Err(invalid(&text))
}

fn invalid(text: &str) -> Refusal {
    Refusal::bad("InvalidParameterValue", text)
}

/// The queue's name: the last part of its URL.
fn name_in(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a request; members that the door does not know are no mistake of the caller's (SQS has many for FIFO queues).
fn read<T: DeserializeOwned>(body: Value) -> Result<T, Refusal> {
    serde_json::from_value(body)
        .map_err(|error| Refusal::bad("InvalidParameterValue", format!("The request is not as expected: {error}")))
}
