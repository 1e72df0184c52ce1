//! The tag in front of session ids: which of several engines opened a session.
//!
//! An engine with a tag writes and takes only ids that begin with it. Whoever stands in front of several engines reads the
//! tag of a request and brings it to the right one; to any other engine the id is simply unknown.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;

use crate::query;
use crate::sid::{self, Sid};

const LENGTH: usize = 6;
const TEXT_LENGTH: usize = 8;

/// 48 bits, written as 8 characters of base64url. No secret: what cannot be guessed is the id behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SidTag([u8; LENGTH]);

impl SidTag {
    /// A tag that no other engine has.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads the 8 characters that [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_LENGTH {
            return None;
        }
        let mut tag = [0; LENGTH];
        let written = URL_SAFE_NO_PAD.decode_slice(text, &mut tag).ok()?;
        (written == LENGTH).then_some(Self(tag))
    }

    /// The tag of the session that a request names, if it names one and that has a tag. Whether there is such a session
    /// is not asked.
    #[must_use]
    pub fn of_request(uri: &Uri) -> Option<Self> {
        let sid = query::first(uri.query()?, "sid")?;
        let (tag, id) = sid.split_at_checked(TEXT_LENGTH)?;
        (id.len() == sid::TEXT_LENGTH).then(|| Self::parse(tag))?
    }

    /// The id as clients know it.
    pub(crate) fn write(tag: Option<Self>, sid: &Sid) -> String {
        tag.map_or_else(|| sid.to_string(), |tag| format!("{tag}{sid}"))
    }

    /// The id that a client names; `None` if it has not this very tag.
    pub(crate) fn read(tag: Option<Self>, text: &str) -> Option<Sid> {
        match tag {
            None => Sid::parse(text),
            Some(tag) => {
                let (found, sid) = text.split_at_checked(TEXT_LENGTH)?;
                (Self::parse(found)? == tag).then(|| Sid::parse(sid))?
            }
        }
    }
}

impl fmt::Display for SidTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_request(uri: &str) -> Option<SidTag> {
        SidTag::of_request(&uri.parse().unwrap())
    }

    #[test]
    fn an_id_is_read_back_by_the_engine_of_its_tag_only() {
        let (own, other) = (SidTag::random(), SidTag::random());
        let sid = Sid::random();
        let text = SidTag::write(Some(own), &sid);
        assert_eq!(text.len(), 28);
        assert_eq!(SidTag::read(Some(own), &text), Some(sid));
        assert_eq!(SidTag::read(Some(other), &text), None);
        assert_eq!(SidTag::read(None, &text), None);
        assert_eq!(SidTag::read(Some(own), &sid.to_string()), None);
    }

    #[test]
    fn without_a_tag_ids_are_as_they_are() {
        let sid = Sid::random();
        assert_eq!(SidTag::write(None, &sid), sid.to_string());
        assert_eq!(SidTag::read(None, &sid.to_string()), Some(sid));
    }

    #[test]
    fn a_request_is_asked_for_its_tag() {
        let tag = SidTag::random();
        let sid = SidTag::write(Some(tag), &Sid::random());
        assert_eq!(of_request(&format!("/x/?EIO=4&sid={sid}&t=1")), Some(tag));
        // The first one counts, as it does where the session is looked up.
        assert_eq!(of_request(&format!("/x/?sid=1&sid={sid}")), None);
        let plain = Sid::random();
        for query in [
            "",
            "?EIO=4",
            "?sid=",
            "?sid=abc",
            &format!("?sid={plain}"),
            &format!("?sid={sid}x"),
            &format!("?sid=!!!!!!!!{plain}"),
            "?sid=%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9",
        ] {
            assert_eq!(of_request(&format!("/x/{query}")), None, "{query}");
        }
    }

    #[test]
    fn a_tag_is_read_back_from_its_text() {
        let tag = SidTag::random();
        assert_eq!(SidTag::parse(&tag.to_string()), Some(tag));
        for text in ["", "aaaaaaa", "aaaaaaaaa", "aaaaaaa=", "éééé"] {
            assert_eq!(SidTag::parse(text), None, "{text}");
        }
    }
}
