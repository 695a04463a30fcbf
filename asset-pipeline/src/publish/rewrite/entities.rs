//! Character references in attribute values. lol_html hands values over as they are written.

/// The value that is meant. Names other than the five of XML do not occur in URLs and stay.
pub(super) fn decoded(value: &str) -> String {
    let mut decoded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        match rest
            .find(';')
            .and_then(|end| Some((end, one(&rest[1..end])?)))
        {
            Some((end, c)) => {
                decoded.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                decoded.push('&');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

/// The value as it can be written; lol_html takes care of quotes.
pub(super) fn encoded(value: &str) -> String {
    value.replace('&', "&amp;")
}

fn one(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "lt" => Some('<'),
        "gt" => Some('>'),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?).filter(|c| *c != '\0')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        for (written, meant) in [
            ("a.png?x=1&amp;y=2", "a.png?x=1&y=2"),
            ("a&b", "a&b"),
            ("&quot;a&#39;&#x26;&#xZ;&", "\"a'&&#xZ;&"),
            ("&copy;&lt&gt;", "&copy;&lt>"),
        ] {
            assert_eq!(decoded(written), meant);
            assert_eq!(decoded(&encoded(meant)), meant);
        }
    }
}
