//! What a request says in its path, its query and its `Accept`. Everything is checked; nothing that is not known is passed
//! over, because a misspelt limit would go unnoticed.

use std::ops::RangeInclusive;

use axum::http::{HeaderMap, Uri, header};

use super::problem::{Kind, Problem};

/// The parameters of a query.
#[derive(Debug)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Takes a query apart. Only `known` names may occur, each once.
    pub fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (unescape(name)?, unescape(value)?);
            if !known.contains(&name.as_str()) {
                let known = match known {
                    [] => "this path takes none".to_owned(),
                    known => format!("known are: {}", known.join(", ")),
                };
                return Err(bad(&name, format!("the parameter {name:.60?} is not known here; {known}")));
            }
            if pairs.iter().any(|(before, _)| *before == name) {
                return Err(bad(&name, format!("the parameter {name} is there twice; give it once")));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a parameter, as it stands.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that is a number up to `max`.
    pub fn number(&self, name: &str, max: u64) -> Result<Option<u64>, Problem> {
        self.number_in(name, 0..=max)
    }

    /// The value of a parameter that is a number within limits.
    pub fn number_in(&self, name: &str, limits: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        self.text(name).map(|text| number_in(name, text, limits)).transpose()
    }
}

/// A number from 0 to `max`, in decimal digits.
pub fn number(name: &str, text: &str, max: u64) -> Result<u64, Problem> {
    number_in(name, text, 0..=max)
}

fn number_in(name: &str, text: &str, limits: RangeInclusive<u64>) -> Result<u64, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.parse::<u64>().ok().filter(|value| digits && limits.contains(value));
    let (min, max) = limits.into_inner();
    value.ok_or_else(|| bad(name, format!("{name} is {text:.60?}; it takes a number from {min} to {max}")))
}

/// The refusal of a parameter.
pub fn bad(name: &str, detail: String) -> Problem {
    let name: String = name.chars().take(60).collect();
    Problem::new(Kind::Parameter, detail).with("parameter", name)
}

fn unescape(text: &str) -> Result<String, Problem> {
    let bytes = unescape_bytes(&text.replace('+', " "))?;
    String::from_utf8(bytes).map_err(|_| bad("", format!("{text:.60?} is not percent-encoded UTF-8")))
}

/// Bytes that are percent-encoded.
pub fn unescape_bytes(text: &str) -> Result<Vec<u8>, Problem> {
    let refuse = || bad("", format!("{text:.60?} is not percent-encoded"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| char::from(digit.unwrap_or(b'?')).to_digit(16));
                let [Some(high), Some(low)] = digits else { return Err(refuse()) };
                u8::try_from(16 * high + low).map_err(|_| refuse())?
            }
            byte => byte,
        });
    }
    Ok(bytes)
}

/// Which of the offered media types the client likes best; the first of equals. Without `Accept`, the first of all.
pub fn accepted(headers: &HeaderMap, offered: &[&'static str]) -> Result<&'static str, Problem> {
    let mut wanted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    let Some(first) = offered.first() else { return Ok("") };
    if wanted.peek().is_none() {
        return Ok(first);
    }
    let ranges: Vec<(String, u32, u8)> = wanted.flat_map(|value| value.split(',')).map(range).collect();
    let quality = |offer: &str| {
        let matching = ranges.iter().filter(|(range, ..)| {
            let all = range.strip_suffix('*').filter(|prefix| prefix.ends_with('/'));
            range == "*/*" || range == offer || all.is_some_and(|prefix| offer.starts_with(prefix))
        });
        matching.max_by_key(|(_, _, exactness)| *exactness).map_or(0, |(_, quality, _)| *quality)
    };
    let best = offered.iter().rev().max_by_key(|offer| quality(offer)).filter(|offer| quality(offer) > 0);
    best.copied().ok_or_else(|| {
        let offered = offered.join(" or ");
        Problem::new(Kind::NotAcceptable, format!("the answer comes as {offered}, and Accept allows none of it"))
    })
}

/// A media range with its weight in thousandths, and how exact it is.
fn range(text: &str) -> (String, u32, u8) {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.find_map(|part| part.strip_prefix("q=")).and_then(|q| q.parse::<f64>().ok()).unwrap_or(1.0);
    let exactness = u8::from(range != "*/*") + u8::from(!range.ends_with("/*"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000")]
    let weight = (weight.clamp(0.0, 1.0) * 1000.0) as u32;
    (range, weight, exactness)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn query(text: &str) -> Result<Query, Problem> {
        Query::of(&format!("/x?{text}").parse().unwrap(), &["from", "to"])
    }

    #[test]
    fn numbers_are_digits_within_their_limit() {
        let from = |text: &str| query(text).unwrap().number("from", u64::MAX).ok().flatten();
        assert_eq!(from("from=18446744073709551615"), Some(u64::MAX));
        for wrong in ["18446744073709551616", "-1", "%2B1", "1.0", "", "0x1", "1e3"] {
            assert_eq!(from(&format!("from={wrong}")), None, "{wrong}");
        }
        assert!(query("from=8").unwrap().number("from", 7).is_err());
        assert!(query("from=0").unwrap().number_in("from", 1..=7).is_err());
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        assert!(query("form=1").is_err());
        assert!(query("from=1&from=1").is_err());
        assert!(query("from=%zz").is_err());
        assert!(query("from=%ff").is_err());
        assert!(query("").unwrap().is_empty());
        assert_eq!(query("to=a%20b").unwrap().text("to"), Some("a b"));
    }

    #[test]
    fn the_best_accepted_form_is_chosen() {
        let choose = |accept: Option<&str>| {
            let mut headers = HeaderMap::new();
            accept.map(|accept| headers.insert(header::ACCEPT, accept.parse().unwrap()));
            accepted(&headers, &["application/json", "application/octet-stream"]).ok()
        };
        assert_eq!(choose(None), Some("application/json"));
        assert_eq!(choose(Some("*/*")), Some("application/json"));
        assert_eq!(choose(Some("application/octet-stream")), Some("application/octet-stream"));
        assert_eq!(choose(Some("application/json;q=0.1, application/*;q=0.5")), Some("application/octet-stream"));
        assert_eq!(choose(Some("application/json;q=0")), None);
        assert_eq!(choose(Some("text/html")), None);
    }
}
