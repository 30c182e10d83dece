//! Refusals: a code, a text and an HTTP status, and the envelope that each protocol puts them in.

use super::xml::{EC2_NAMESPACE, Xml};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::json;
use std::borrow::Cow;
use thiserror::Error;

/// Why a call was refused, in AWS's words.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{code}: {message}")]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The stable code that clients branch on.
    pub(crate) code: Cow<'static, str>,
    /// The text for people.
    pub(crate) message: String,
}

impl Refusal {
    /// A refusal with a status of its own.
    pub(crate) fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    /// A refusal because of what was asked (400), which is most of them.
    pub(crate) fn bad(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The answer to a dry run that would have succeeded.
    pub(crate) fn dry_run() -> Self {
        let text = "Request would have succeeded, but DryRun flag is set.";
        Self::new(StatusCode::PRECONDITION_FAILED, "DryRunOperation", text)
    }

    /// A value that is wrong for a reason of its own.
    pub(crate) fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::bad("InvalidParameterValue", message)
    }

    /// A value that the parameter `name` cannot have; `hint` says which it could.
    pub(crate) fn invalid_value(value: &str, name: &str, hint: &str) -> Self {
        Self::invalid_parameter(format!("Value ({value}) for parameter {name} is invalid. {hint}"))
    }

    /// A required parameter that was not sent.
    pub(crate) fn missing_parameter(name: &str) -> Self {
        Self::bad("MissingParameter", format!("The request must contain the parameter {name}"))
    }

    /// A parameter that the operation does not have (or this cloud does not model).
    pub(crate) fn unknown_parameter(name: &str) -> Self {
        Self::bad("UnknownParameter", format!("The parameter {name} is not recognized"))
    }

    /// Two parameters that exclude each other.
    pub(crate) fn combination(one: &str, other: &str) -> Self {
        let text = format!("The parameter {one} cannot be used with the parameter {other}");
        Self::bad("InvalidParameterCombination", text)
    }

    /// An operation that the service does not have (or this cloud does not serve).
    pub(crate) fn invalid_action(action: &str) -> Self {
        Self::bad("InvalidAction", format!("The action {action} is not valid for this web service."))
    }
}

/// How the caller's protocol dresses answers and refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// EC2's Query/XML.
    Ec2,
    /// The Query/XML of IAM and STS, with the namespace of its documents.
    Query(&'static str),
    /// `X-Amz-Target` JSON 1.1 (SSM, Pricing).
    Json,
    /// `X-Amz-Target` JSON 1.0, with the codes of an older protocol beside it (SQS).
    Sqs,
    /// REST JSON (EKS).
    RestJson,
}

impl Protocol {
    /// A refusal as this protocol sends it.
    pub(crate) fn refuse(self, refusal: &Refusal, request_id: &str) -> Response {
        match self {
            Self::Ec2 => xml_response(refusal.status, request_id, ec2_error(refusal, request_id)),
            Self::Query(namespace) => {
                xml_response(refusal.status, request_id, query_error(refusal, request_id, namespace))
            }
            Self::Json => {
                let body = json!({"__type": refusal.code, "message": refusal.message});
                json_response(self, refusal.status, request_id, &body, None)
            }
            Self::Sqs => {
                let body = json!({"__type": format!("com.amazonaws.sqs#{}", refusal.code), "message": refusal.message});
                let mut response = json_response(self, refusal.status, request_id, &body, None);
                let sender = if refusal.status.is_server_error() { "Receiver" } else { "Sender" };
                let code = format!("{};{sender}", query_era_code(&refusal.code));
                if let Ok(value) = header::HeaderValue::from_str(&code) {
                    response.headers_mut().insert("x-amzn-query-error", value);
                }
                response
            }
            Self::RestJson => {
                let code = Some(refusal.code.as_ref());
                json_response(self, refusal.status, request_id, &json!({"message": refusal.message}), code)
            }
        }
    }
}

/// What SQS called its errors before it spoke JSON, which clients still look for.
fn query_era_code(code: &str) -> &str {
    match code {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue",
        "QueueNameExists" => "QueueAlreadyExists",
        other => other,
    }
}

fn ec2_error(refusal: &Refusal, request_id: &str) -> Vec<u8> {
    Xml::document("Response", "", |xml| {
        xml.node("Errors", |xml| xml.node("Error", |xml| code_and_message(xml, refusal)));
        xml.text("RequestID", request_id);
    })
}

fn query_error(refusal: &Refusal, request_id: &str, namespace: &str) -> Vec<u8> {
    Xml::document("ErrorResponse", namespace, |xml| {
        xml.node("Error", |xml| {
            xml.text("Type", if refusal.status.is_server_error() { "Receiver" } else { "Sender" });
            code_and_message(xml, refusal);
        });
        xml.text("RequestId", request_id);
    })
}

fn code_and_message(xml: &mut Xml, refusal: &Refusal) {
    xml.text("Code", &refusal.code);
    xml.text("Message", &refusal.message);
}

/// An XML answer. The body goes out in one piece with its length, which the Go SDK needs (a split write makes it retry).
pub(crate) fn xml_response(status: StatusCode, request_id: &str, body: Vec<u8>) -> Response {
    let headers = [(header::CONTENT_TYPE.as_str(), "text/xml;charset=UTF-8"), ("x-amzn-requestid", request_id)];
    (status, headers, body).into_response()
}

/// A JSON answer; `error_type` is the header by which REST clients tell errors apart.
pub(crate) fn json_response(
    protocol: Protocol,
    status: StatusCode,
    request_id: &str,
    body: &serde_json::Value,
    error_type: Option<&str>,
) -> Response {
    let kind = match protocol {
        Protocol::RestJson => "application/json",
        Protocol::Sqs => "application/x-amz-json-1.0",
        Protocol::Json | Protocol::Ec2 | Protocol::Query(_) => "application/x-amz-json-1.1",
    };
    let headers = [(header::CONTENT_TYPE.as_str(), kind), ("x-amzn-requestid", request_id)];
    let error_type = error_type.map(|code| [("x-amzn-errortype", code.to_owned())]);
    match error_type {
        Some(error_type) => (status, headers, error_type, body.to_string()).into_response(),
        None => (status, headers, body.to_string()).into_response(),
    }
}

/// The root of a successful EC2 answer around `content`.
pub(crate) fn ec2_response(action: &str, request_id: &str, content: Xml) -> Response {
    let body = Xml::document(&format!("{action}Response"), EC2_NAMESPACE, |xml| {
        xml.text("requestId", request_id);
        xml.append(content);
    });
    xml_response(StatusCode::OK, request_id, body)
}

/// The root of a successful IAM or STS answer around `content`.
pub(crate) fn query_response(action: &str, namespace: &str, request_id: &str, content: Xml) -> Response {
    let body = Xml::document(&format!("{action}Response"), namespace, |xml| {
        xml.node(&format!("{action}Result"), |xml| xml.append(content));
        xml.node("ResponseMetadata", |xml| xml.text("RequestId", request_id));
    });
    xml_response(StatusCode::OK, request_id, body)
}
