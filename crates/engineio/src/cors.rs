//! Cross-origin resource sharing: the headers of answers and of preflights.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, VARY,
};
use http::{HeaderMap, HeaderValue};

use crate::config::{Cors, Origins};

const METHODS: HeaderValue = HeaderValue::from_static("GET,POST,OPTIONS");

impl Cors {
    /// Adds the headers of every answer to a request with these headers.
    pub(crate) fn decorate(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        let allowed = match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Mirror => origin.cloned(),
            Origins::List(list) => origin
                .filter(|origin| {
                    list.iter()
                        .any(|known| known.as_bytes() == origin.as_bytes())
                })
                .cloned(),
        };
        if self.origins != Origins::Any {
            answer.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(allowed) = allowed else {
            return;
        };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            answer.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
    }

    /// Adds the headers of the answer to a preflight.
    pub(crate) fn decorate_preflight(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        if let Some(headers) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
            answer.append(
                VARY,
                HeaderValue::from_static("Access-Control-Request-Headers"),
            );
        }
        if let Some(max_age) = self.max_age {
            answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(max_age.as_secs()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(cors: &Cors, origin: Option<&'static str>) -> HeaderMap {
        let mut answer = HeaderMap::new();
        cors.decorate(origin.map(HeaderValue::from_static).as_ref(), &mut answer);
        answer
    }

    fn text(answer: &HeaderMap, name: http::HeaderName) -> Option<&str> {
        answer.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn any_origin_is_answered_with_a_star() {
        let answer = answer(&Cors::default(), Some("https://a.example"));
        assert_eq!(text(&answer, ACCESS_CONTROL_ALLOW_ORIGIN), Some("*"));
        assert_eq!(text(&answer, VARY), None);
    }

    #[test]
    fn a_listed_origin_is_echoed_and_another_is_not() {
        let origins = Origins::List(vec!["https://a.example".to_owned()]);
        let cors = Cors {
            origins,
            credentials: true,
            max_age: None,
        };
        let allowed = answer(&cors, Some("https://a.example"));
        assert_eq!(
            text(&allowed, ACCESS_CONTROL_ALLOW_ORIGIN),
            Some("https://a.example")
        );
        assert_eq!(
            text(&allowed, ACCESS_CONTROL_ALLOW_CREDENTIALS),
            Some("true")
        );
        assert_eq!(text(&allowed, VARY), Some("Origin"));
        for other in [
            Some("https://b.example"),
            Some("https://a.example:444"),
            Some("null"),
            None,
        ] {
            let refused = answer(&cors, other);
            assert_eq!(
                text(&refused, ACCESS_CONTROL_ALLOW_ORIGIN),
                None,
                "{other:?}"
            );
            assert_eq!(
                text(&refused, ACCESS_CONTROL_ALLOW_CREDENTIALS),
                None,
                "{other:?}"
            );
            assert_eq!(text(&refused, VARY), Some("Origin"), "{other:?}");
        }
    }
}
