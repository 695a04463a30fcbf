//! The best of what there is, for what a client says it prefers (RFC 9110, 12.5).
//!
//! Thousands of spellings of `Accept-Language` come down to the few languages that an answer is there in: the key and
//! the origin see that one word. What cannot be read counts as no preference: it can only choose among answers that
//! everybody of the scope may see.

use http::HeaderValue;

/// More than any browser sends; the rest is not looked at.
const WISHES_MAX: usize = 32;

/// One entry of a list with its weight in thousandths.
struct Wish<'a> {
    text: &'a str,
    weight: u16,
}

/// The offered language that is preferred most; the first where none is asked for. RFC 4647, 3.4 (lookup): `de-AT`
/// asks for `de` where there is no Austrian German.
pub(crate) fn locale<'o>(value: Option<&HeaderValue>, offered: &'o [Box<str>]) -> Option<&'o str> {
    let wishes = wishes(value);
    let mut ranked: Vec<&Wish<'_>> = wishes.iter().filter(|wish| wish.weight > 0).collect();
    // A stable sort: of equal weights the first counts.
    ranked.sort_by_key(|wish| std::cmp::Reverse(wish.weight));
    let found = ranked
        .into_iter()
        .find_map(|wish| offer_of(wish.text, offered));
    found.or(offered.first().map(AsRef::as_ref))
}

fn offer_of<'o>(range: &str, offered: &'o [Box<str>]) -> Option<&'o str> {
    if range == "*" {
        return offered.first().map(AsRef::as_ref);
    }
    let mut range = range;
    loop {
        let found = offered.iter().find(|have| have.eq_ignore_ascii_case(range));
        if let Some(found) = found {
            return Some(found);
        }
        range = range.rsplit_once('-')?.0;
    }
}

/// The offered media type that is preferred most; of equals the first, which is also taken where none is asked for.
pub(crate) fn media_type<'o>(
    value: Option<&HeaderValue>,
    offered: &'o [Box<str>],
) -> Option<&'o str> {
    let wishes = wishes(value);
    let weight = |offer: &str| {
        let matching = wishes.iter().filter_map(|wish| {
            specificity(wish.text, offer).map(|specific| (specific, wish.weight))
        });
        // The most specific range decides (RFC 9110, 12.5.1).
        matching
            .max_by_key(|(specific, _)| *specific)
            .map(|(_, weight)| weight)
    };
    let mut best: Option<(u16, &'o str)> = None;
    for offer in offered {
        if let Some(weight) = weight(offer)
            && weight > best.map_or(0, |(have, _)| have)
        {
            best = Some((weight, offer));
        }
    }
    best.map(|(_, offer)| offer)
        .or(offered.first().map(AsRef::as_ref))
}

fn specificity(range: &str, offer: &str) -> Option<u8> {
    if range == "*/*" {
        return Some(0);
    }
    if range.eq_ignore_ascii_case(offer) {
        return Some(2);
    }
    let kind = range.strip_suffix("/*")?;
    let (have, _) = offer.split_once('/')?;
    kind.eq_ignore_ascii_case(have).then_some(1)
}

fn wishes(value: Option<&HeaderValue>) -> Vec<Wish<'_>> {
    let text = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let entries = text.split(',').take(WISHES_MAX);
    entries
        .filter_map(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let text = parts.next().filter(|text| !text.is_empty())?;
            let weight = parts
                .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
                .map_or(Some(1000), thousandths)?;
            Some(Wish { text, weight })
        })
        .collect()
}

/// `0.8` as 800; none for what is no weight.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let fits = part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
    let whole = match whole {
        "0" => 0,
        "1" => 1000,
        _ => return None,
    };
    let part: u16 = if part.is_empty() {
        0
    } else {
        format!("{part:0<3}").parse().ok()?
    };
    (fits && whole + part <= 1000).then_some(whole + part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offers(list: &[&str]) -> Vec<Box<str>> {
        list.iter().map(|text| (*text).into()).collect()
    }

    #[test]
    fn a_language_is_found_whatever_its_spelling() {
        let offered = offers(&["en", "de", "pt-BR"]);
        for (asked, expected) in [
            (None, "en"),
            (Some(""), "en"),
            (Some("de"), "de"),
            (Some("DE-at, en;q=0.5"), "de"),
            (Some("en;q=0.2, de;q=0.8"), "de"),
            (Some("de;q=0, en"), "en"),
            (Some("de;q=0"), "en"),
            (Some("fr, it"), "en"),
            (Some("fr, *;q=0.1"), "en"),
            (Some("pt"), "en"),
            (Some("pt-br-x-1"), "pt-BR"),
            (Some("de;q=2"), "en"),
            (Some(";;,,;q=1"), "en"),
        ] {
            let value = asked.map(|text| HeaderValue::from_str(text).expect("a value"));
            assert_eq!(
                locale(value.as_ref(), &offered),
                Some(expected),
                "{asked:?}"
            );
        }
        assert_eq!(locale(None, &[]), None);
    }

    /// RFC 9110, 12.4.2.
    #[test]
    fn a_weight_is_of_one_and_has_three_digits_at_most() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0.", Some(0)),
            ("0.8", Some(800)),
            ("0.05", Some(50)),
            ("0.999", Some(999)),
            ("1", Some(1000)),
            ("1.000", Some(1000)),
            ("1.001", None),
            ("0.1234", None),
            ("0.+1", None),
            ("2", None),
            ("", None),
            (".5", None),
            ("-0.5", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_most_specific_media_range_decides() {
        let offered = offers(&["application/json", "text/csv"]);
        for (asked, expected) in [
            (None, "application/json"),
            (Some("*/*"), "application/json"),
            (Some("text/csv"), "text/csv"),
            (Some("text/*, application/json;q=0.5"), "text/csv"),
            (
                Some("text/*;q=1, text/csv;q=0.1, */*;q=0.5"),
                "application/json",
            ),
            (
                Some("application/*;q=0.4, text/csv;q=0.3"),
                "application/json",
            ),
            (Some("image/png"), "application/json"),
            (Some("junk"), "application/json"),
        ] {
            let value = asked.map(|text| HeaderValue::from_str(text).expect("a value"));
            assert_eq!(
                media_type(value.as_ref(), &offered),
                Some(expected),
                "{asked:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_one_of_the_offers_is_chosen(text in "[ -~]{0,60}") {
            let value = HeaderValue::from_str(&text).expect("visible text is a value");
            let offered = offers(&["de", "en-GB"]);
            prop_assert!(["de", "en-GB"].contains(&locale(Some(&value), &offered).expect("one")));
            prop_assert!(["de", "en-GB"].contains(&media_type(Some(&value), &offered).expect("one")));
        }
    }
}
