//! Paging: `MaxResults`, `NextToken`, and the token that remembers where the last page ended.
//!
//! A token names the last element shown rather than an offset, so a list that changes between two pages neither repeats nor
//! skips what stayed. It is opaque to clients and only good for the operation and the selection it was given for.

use super::{error::Refusal, query::Params};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::ops::RangeInclusive;

/// The page a caller asked for.
#[derive(Debug)]
pub(crate) struct Page {
    size: usize,
    token: Option<String>,
    scope: [u8; 8],
}

impl Page {
    /// Takes `MaxResults` and `NextToken`; without a size the page is as large as the range allows.
    pub(crate) fn take(params: &mut Params, action: &str, sizes: &RangeInclusive<u32>) -> Result<Self, Refusal> {
        let size = params.integer("MaxResults", sizes)?.unwrap_or(*sizes.end());
        Ok(Self::new(action, size, params.text("NextToken")))
    }

    /// The page of `size` elements after `token`, in the answers of `scope` (an operation, with what selects its answers).
    pub(crate) fn new(scope: &str, size: u32, token: Option<String>) -> Self {
        let digest = Sha256::digest(scope.as_bytes());
        let scope = digest[..8].try_into().expect("a SHA-256 digest has 32 bytes");
        Self { size: size as usize, token: token.filter(|token| !token.is_empty()), scope }
    }

    /// The most elements of the page.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The key of the last element of the page before.
    pub(crate) fn after(&self) -> Result<Option<String>, Refusal> {
        self.token.as_deref().map(|token| self.decode(token)).transpose()
    }

    /// Cuts the page out of `elements`, which must be in the order of `key`; the second value is the token of the next page.
    pub(crate) fn cut<T>(
        &self,
        elements: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), Refusal> {
        let after = self.after()?;
        let mut rest =
            elements.into_iter().skip_while(|element| after.as_ref().is_some_and(|after| key(element) <= *after));
        let page: Vec<T> = rest.by_ref().take(self.size).collect();
        let next = rest.next().and(page.last()).map(|last| self.encode(&key(last)));
        Ok((page, next))
    }

    fn encode(&self, key: &str) -> String {
        URL_SAFE_NO_PAD.encode([&self.scope[..], key.as_bytes()].concat())
    }

    fn decode(&self, token: &str) -> Result<String, Refusal> {
        let refusal = || Refusal::bad("InvalidNextToken", format!("The token '{token}' is invalid"));
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refusal())?;
        let key = bytes.strip_prefix(&self.scope[..]).ok_or_else(refusal)?;
        String::from_utf8(key.to_vec()).map_err(|_| refusal())
    }
}

/// An answer in JSON with the token of the next page, if there is one: on the last page the member is not there.
pub(crate) fn with_next(mut answer: Value, next: Option<String>) -> Value {
    if let Some(next) = next {
        answer["NextToken"] = Value::String(next);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::Page;
    use rstest::rstest;

    fn page(size: u32, token: Option<String>) -> Page {
        Page::new("DescribeThings", size, token)
    }

    #[rstest]
    fn pages_of_every_size_show_everything_once(#[values(1, 2, 3, 6, 7, 8)] size: u32) {
        let all: Vec<String> = ["a", "b", "c", "d", "e", "f", "g"].map(str::to_owned).to_vec();
        let (mut seen, mut token) = (Vec::new(), None);
        loop {
            let (shown, next) = page(size, token).cut(all.clone(), String::clone).unwrap();
            assert!(shown.len() <= size as usize);
            seen.extend(shown);
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn an_element_that_vanished_between_pages_does_not_shift_the_rest() {
        let (_, token) = page(2, None).cut(["a", "b", "c", "d"], |name| (*name).to_owned()).unwrap();
        let (shown, _) = page(2, token).cut(["a", "c", "d"], |name| (*name).to_owned()).unwrap();
        assert_eq!(shown, ["c", "d"]);
    }

    #[rstest]
    #[case::nonsense("%%%")]
    #[case::anothers(&Page::new("DescribeOthers", 1, None).encode("a"))]
    fn a_token_from_elsewhere_is_refused(#[case] token: &str) {
        let refusal = page(5, Some(token.to_owned())).cut(["a"], |name| (*name).to_owned()).unwrap_err();
        assert_eq!(refusal.code, "InvalidNextToken");
    }
}
