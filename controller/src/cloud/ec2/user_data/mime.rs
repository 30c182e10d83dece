//! User data of several parts, as cloud-init and nodeadm read it.

use super::UserDataError;

pub(super) const SHELL: &str = "text/x-shellscript; charset=\"us-ascii\"";
pub(super) const NODE_CONFIG: &str = "application/node.eks.aws";

/// A part with its content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) content_type: String,
    pub(super) body: String,
}

impl Part {
    pub(super) fn new(content_type: &str, body: impl Into<String>) -> Self {
        Self { content_type: content_type.to_owned(), body: body.into() }
    }
}

/// All parts as one document.
pub(super) fn write(parts: &[Part]) -> String {
    let mut text = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n".to_owned();
    for part in parts {
        let end = if part.body.ends_with('\n') { "" } else { "\n" };
        text.push_str(&format!("--//\nContent-Type: {}\n\n{}{end}", part.content_type, part.body));
    }
    text.push_str("--//--\n");
    text
}

/// Whether `text` says that it is a MIME document.
pub(super) fn is_mime(text: &str) -> bool {
    let start = text.trim_start();
    start.starts_with("MIME-Version:") || start.starts_with("Content-Type: multipart/")
}

/// The parts of a document.
///
/// # Errors
/// Where it has no boundary or no parts.
pub(super) fn split(text: &str) -> Result<Vec<Part>, UserDataError> {
    let text = text.replace("\r\n", "\n");
    let malformed =
        |problem: &str| UserDataError::Malformed { expected: "a MIME multipart document", problem: problem.to_owned() };
    let (headers, body) = text.split_once("\n\n").ok_or_else(|| malformed("no empty line follows its headers"))?;
    let boundary = boundary(headers).ok_or_else(|| malformed("its `Content-Type` names no `boundary`"))?;
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut current: Option<Vec<&str>> = None;
    for line in body.lines() {
        let end = line.trim_end() == format!("{delimiter}--");
        if end || line.trim_end() == delimiter {
            parts.extend(current.take().map(|lines| part(&lines)));
            current = (!end).then(Vec::new);
        } else if let Some(lines) = &mut current {
            lines.push(line);
        }
    }
    if parts.is_empty() { Err(malformed("its boundary encloses no part")) } else { Ok(parts) }
}

fn boundary(headers: &str) -> Option<&str> {
    let (_, rest) = headers.split_once("boundary=")?;
    let value = rest.split(['\n', ';']).next()?.trim();
    Some(value.trim_matches('"')).filter(|boundary| !boundary.is_empty())
}

/// Headers up to the first empty line, of which the type is kept; then the body.
fn part(lines: &[&str]) -> Part {
    let headers = lines.iter().take_while(|line| !line.is_empty()).count();
    let content_type = lines[..headers].iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-type").then(|| value.trim())
    });
    let body = lines.iter().skip(headers + 1).map(|line| format!("{line}\n")).collect::<String>();
    Part::new(content_type.unwrap_or("text/plain"), body)
}
