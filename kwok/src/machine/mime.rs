//! MIME multipart documents as cloud-init takes them: enough for user data, not for mail.

/// One part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// The type without parameters, in lower case; `text/plain` if not given.
    pub(super) content_type: String,
    /// Everything after the first empty line.
    pub(super) body: &'a str,
}

/// Whether `text` begins as a multipart document.
pub(super) fn is_multipart(text: &str) -> bool {
    let (headers, _) = split_headers(text);
    header(headers, "content-type").is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/"))
}

/// The parts in order.
pub(super) fn parts(text: &str) -> Result<Vec<Part<'_>>, String> {
    let (headers, body) = split_headers(text);
    let kind = header(headers, "content-type").ok_or("there is no `Content-Type` header")?;
    let boundary = boundary(&kind).ok_or("the `Content-Type` header gives no `boundary`")?;
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut open: Option<usize> = None;
    let mut offset = 0;
    for line in body.split_inclusive('\n') {
        let bare = line.trim_end();
        let ends = bare == format!("{delimiter}--");
        if ends || bare == delimiter {
            parts.extend(open.map(|start| part(&body[start..offset])));
            open = Some(offset + line.len());
        }
        offset += line.len();
        if ends {
            return Ok(parts);
        }
    }
    Err(format!("the document does not end with `{delimiter}--`"))
}

fn part(text: &str) -> Part<'_> {
    let (headers, body) = split_headers(text);
    let kind = header(headers, "content-type").unwrap_or_else(|| "text/plain".to_owned());
    let content_type = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Part { content_type, body }
}

/// Everything before the first empty line, and after it.
fn split_headers(text: &str) -> (&str, &str) {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let end = offset + line.len();
        if line.trim_end().is_empty() {
            return (&text[..offset], &text[end..]);
        }
        offset = end;
    }
    (text, "")
}

/// The value of a header, folded lines joined.
fn header(headers: &str, name: &str) -> Option<String> {
    let mut found: Option<String> = None;
    for line in headers.lines() {
        let folded = line.starts_with([' ', '\t']);
        match (&mut found, line.split_once(':')) {
            (Some(value), _) if folded => value.push_str(line.trim()),
            (Some(_), _) => break,
            (None, Some((key, value))) if key.trim().eq_ignore_ascii_case(name) => {
                found = Some(value.trim().to_owned())
            }
            (None, _) => {}
        }
    }
    found
}

fn boundary(content_type: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case("boundary") && !value.is_empty()).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::{is_multipart, parts};

    #[test]
    fn parts_have_types_and_bodies() {
        let text = "MIME-Version: 1.0\nContent-Type: multipart/mixed;\n boundary=\"//\"\n\npreamble\n--//\nContent-Type: A/B; charset=x\n\none\ntwo\n--//\n\nthree\n--//--\nafter";
        assert!(is_multipart(text));
        let found: Vec<_> = parts(text).unwrap().into_iter().map(|part| (part.content_type, part.body)).collect();
        assert_eq!(found, [("a/b".to_owned(), "one\ntwo\n"), ("text/plain".to_owned(), "three\n")]);
    }

    #[test]
    fn an_open_end_is_an_error() {
        let text = "Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n";
        assert_eq!(parts(text).unwrap_err(), "the document does not end with `--x--`");
        assert_eq!(
            parts("Content-Type: multipart/mixed\n\n").unwrap_err(),
            "the `Content-Type` header gives no `boundary`"
        );
    }
}
