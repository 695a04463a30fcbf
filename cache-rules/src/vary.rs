//! Which request headers an answer depends on, and their values as parts of a key.
//!
//! The rule lists the headers, before the answer is known: their values are in the key, and no other reaches the
//! origin. What the origin's `Vary` names must then be among them. `Accept-Encoding` always is: the origin is asked
//! for plain bytes only.

use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, VARY};

use crate::prefer;
use crate::reason::PassReason;
use crate::rules::{Rule, Take, VaryOn};

/// Longer than any real `Accept-Language`; a longer value would make a key per client.
const VALUE_BYTES_MAX: usize = 256;

/// The request's values of the rule's headers, in the rule's order; the lines of one header are one value.
pub(crate) fn values(
    listed: &[VaryOn],
    request: &HeaderMap,
) -> Result<Box<[Option<HeaderValue>]>, PassReason> {
    let values = listed.iter().map(|on| {
        let value = value(&on.name, request)?;
        Ok(match &on.take {
            Take::Value => value,
            // A reduced header is always there, so that the origin never has to choose.
            Take::Locale(offered) => best(prefer::locale(value.as_ref(), offered)),
            Take::Type(offered) => best(prefer::media_type(value.as_ref(), offered)),
        })
    });
    values.collect()
}

fn best(chosen: Option<&str>) -> Option<HeaderValue> {
    HeaderValue::from_str(chosen?).ok()
}

fn value(name: &HeaderName, request: &HeaderMap) -> Result<Option<HeaderValue>, PassReason> {
    let mut lines = request.get_all(name).iter();
    let (Some(first), second) = (lines.next(), lines.next()) else {
        return Ok(None);
    };
    let joined = if second.is_none() && first.as_bytes().trim_ascii().len() == first.len() {
        first.clone()
    } else {
        let lines = request.get_all(name).iter();
        let lines: Vec<&[u8]> = lines.map(|line| line.as_bytes().trim_ascii()).collect();
        // Bytes of header values, joined by `, `, are a header value.
        HeaderValue::from_bytes(&lines.join(&b", "[..])).map_err(|_| PassReason::VaryTooLong)?
    };
    if joined.len() > VALUE_BYTES_MAX {
        return Err(PassReason::VaryTooLong);
    }
    Ok(Some(joined))
}

/// Whether an answer depends on nothing but what the rule lists.
pub(crate) fn check(rule: &Rule, answer: &HeaderMap) -> Result<(), PassReason> {
    check_names(|name| rule.varies_on(name), answer)
}

pub(crate) fn check_names(
    listed: impl Fn(&HeaderName) -> bool,
    answer: &HeaderMap,
) -> Result<(), PassReason> {
    let lines = answer.get_all(VARY).iter();
    let names = lines
        .flat_map(|line| line.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty());
    let mut result = Ok(());
    for name in names {
        if name == b"*" {
            return Err(PassReason::VaryStar);
        }
        let name = HeaderName::from_bytes(name).map_err(|_| PassReason::VaryInvalid)?;
        if name != ACCEPT_ENCODING && !listed(&name) {
            result = Err(PassReason::VaryUnlisted);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_str(line).expect("a value"));
        }
        headers
    }

    #[test]
    fn an_answer_may_depend_on_listed_headers_only() {
        use PassReason::{VaryInvalid, VaryStar, VaryUnlisted};
        let listed = [http::header::ACCEPT_LANGUAGE, http::header::ORIGIN];
        let table: &[(&[&str], Result<(), PassReason>)] = &[
            (&[], Ok(())),
            (&[""], Ok(())),
            (&["Accept-Encoding"], Ok(())),
            (&["ACCEPT-LANGUAGE, origin"], Ok(())),
            (&["accept-language", ",, Origin ,"], Ok(())),
            (&["*"], Err(VaryStar)),
            (&[", *"], Err(VaryStar)),
            (&["*, *"], Err(VaryStar)),
            (&["Origin, *"], Err(VaryStar)),
            (&["Cookie, *"], Err(VaryStar)),
            (&["Origin", "*"], Err(VaryStar)),
            (&["Cookie"], Err(VaryUnlisted)),
            (&["Origin, Authorization"], Err(VaryUnlisted)),
            (&["Origin", "Accept"], Err(VaryUnlisted)),
            (&["Origin Accept"], Err(VaryInvalid)),
            (&["Origin; Accept"], Err(VaryInvalid)),
            (&["**"], Err(VaryUnlisted)),
            (&["\"*\""], Err(VaryInvalid)),
        ];
        for (lines, expected) in table {
            assert_eq!(
                check_names(|name| listed.contains(name), &headers(VARY, lines)),
                *expected,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn the_lines_of_a_header_are_one_value_and_absent_is_not_empty() {
        let name = http::header::ACCEPT_LANGUAGE;
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        type Row<'a> = (&'a [&'a str], Result<Option<&'a str>, PassReason>);
        let table: &[Row<'_>] = &[
            (&[], Ok(None)),
            (&[""], Ok(Some(""))),
            (&["de"], Ok(Some("de"))),
            (&[" de "], Ok(Some("de"))),
            (&["de", " en "], Ok(Some("de, en"))),
            (&[&long[1..]], Ok(Some(&long[1..]))),
            (&[&long], Err(PassReason::VaryTooLong)),
        ];
        for (lines, expected) in table {
            let on = VaryOn {
                name: name.clone(),
                take: Take::Value,
            };
            let seen = values(&[on], &headers(name.clone(), lines));
            let seen = seen.map(|v| v[0].as_ref().map(|v| v.to_str().expect("ASCII").to_owned()));
            assert_eq!(
                seen.as_ref().map(Option::as_deref),
                expected.as_ref().map(|e| *e),
                "{lines:?}"
            );
        }
    }
}
