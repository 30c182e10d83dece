//! The XML of answers, on quick-xml: elements, lists of `<item>`, times.

use jiff::Timestamp;
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event},
};
use std::fmt::Display;

/// The namespace of the EC2 API's answers.
pub(crate) const EC2_NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// A document, or a piece of one, being written.
pub(crate) struct Xml(Writer<Vec<u8>>);

impl Xml {
    /// A piece to be put into a [`Xml::document`].
    pub(crate) fn new() -> Self {
        Self(Writer::new(Vec::new()))
    }

    /// A whole document: declaration, root element with its namespace (none if empty), content.
    pub(crate) fn document(root: &str, namespace: &str, content: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut xml = Self::new();
        xml.event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        let mut start = BytesStart::new(root);
        if !namespace.is_empty() {
            start.push_attribute(("xmlns", namespace));
        }
        xml.event(Event::Start(start));
        content(&mut xml);
        xml.event(Event::End(BytesEnd::new(root)));
        xml.0.into_inner()
    }

    fn event(&mut self, event: Event<'_>) {
        self.0.write_event(event).expect("writing to memory cannot fail");
    }

    /// Puts a finished piece here.
    pub(crate) fn append(&mut self, piece: Self) {
        self.0.get_mut().extend_from_slice(&piece.0.into_inner());
    }

    /// `<name>value</name>`
    pub(crate) fn text(&mut self, name: &str, value: impl Display) {
        self.event(Event::Start(BytesStart::new(name)));
        self.event(Event::Text(BytesText::new(&value.to_string())));
        self.event(Event::End(BytesEnd::new(name)));
    }

    /// `<name>value</name>`, or nothing.
    pub(crate) fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// `<name>2026-01-01T00:00:00.000Z</name>`
    pub(crate) fn time(&mut self, name: &str, time: Timestamp) {
        self.text(name, iso_8601(time));
    }

    /// `<name>…</name>`
    pub(crate) fn node(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.event(Event::Start(BytesStart::new(name)));
        content(self);
        self.event(Event::End(BytesEnd::new(name)));
    }

    /// `<name><item>…</item>…</name>`, also when there is no item, as EC2 does.
    pub(crate) fn items<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, write: impl Fn(&mut Self, T)) {
        self.node(name, |xml| {
            for item in items {
                xml.node("item", |xml| write(xml, item));
            }
        });
    }

    /// `<name><member>…</member>…</name>`, as IAM writes lists.
    pub(crate) fn members<T>(
        &mut self,
        name: &str,
        members: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Self, T),
    ) {
        self.node(name, |xml| {
            for member in members {
                xml.node("member", |xml| write(xml, member));
            }
        });
    }

    /// `<name><item>text</item>…</name>`
    pub(crate) fn texts(&mut self, name: &str, texts: impl IntoIterator<Item = impl Display>) {
        self.node(name, |xml| texts.into_iter().for_each(|text| xml.text("item", text)));
    }

    /// `<name><item><key/><value/></item>…</name>`; nothing when there is no tag, as EC2 does.
    pub(crate) fn tags<'a>(&mut self, name: &str, tags: impl IntoIterator<Item = (&'a String, &'a String)>) {
        let mut tags = tags.into_iter().peekable();
        if tags.peek().is_some() {
            self.items(name, tags, |xml, (key, value)| {
                xml.text("key", key);
                xml.text("value", value);
            });
        }
    }
}

/// A time as AWS writes it: ISO 8601 with milliseconds, in UTC.
pub(crate) fn iso_8601(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::{EC2_NAMESPACE, Xml};

    #[test]
    fn a_document_reads_as_ec2_writes_it() {
        let document = Xml::document("RebootInstancesResponse", EC2_NAMESPACE, |xml| {
            xml.text("requestId", "a<b&c");
            xml.time("launchTime", "2026-01-01T00:00:00.0125Z".parse().unwrap());
            xml.items("tagSet", ["x"], |xml, key| xml.text("key", key));
            xml.texts("none", Vec::<String>::new());
            xml.optional("absent", None::<u8>);
        });
        insta::assert_snapshot!(String::from_utf8(document).unwrap().replace("><", ">\n<"), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <RebootInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
        <requestId>a&lt;b&amp;c</requestId>
        <launchTime>2026-01-01T00:00:00.012Z</launchTime>
        <tagSet>
        <item>
        <key>x</key>
        </item>
        </tagSet>
        <none>
        </none>
        </RebootInstancesResponse>
        "#);
    }
}
