//! Host names as certificates hold them, and the lookup form of a name that a client sent.

use rustls::pki_types::DnsName;

/// The longest name of the DNS, in bytes.
const NAME_BYTES_MAX: usize = 253;

/// A DNS name of a certificate, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// `a.example`
    Exact(Box<str>),
    /// `*.example`, held as `example`
    Wildcard(Box<str>),
}

impl Name {
    /// Reads a name of a certificate; `None` when no client could ask for it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let (rest, wildcard) = match lower.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (lower.as_str(), false),
        };
        let valid =
            DnsName::try_from(rest).is_ok() && !rest.ends_with('.') && rest.len() <= NAME_BYTES_MAX;
        valid.then(|| {
            if wildcard {
                Self::Wildcard(rest.into())
            } else {
                Self::Exact(rest.into())
            }
        })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(rest) => write!(f, "*.{rest}"),
        }
    }
}

/// Calls `look` with `name` in lower case, on the stack; `None` when it is too long to be a name.
pub(crate) fn lower<T>(name: &str, look: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    if !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return look(name);
    }
    let mut buffer = [0_u8; NAME_BYTES_MAX];
    let buffer = buffer.get_mut(..name.len())?;
    buffer.copy_from_slice(name.as_bytes());
    buffer.make_ascii_lowercase();
    look(std::str::from_utf8(buffer).ok()?)
}

/// What a wildcard would have to hold to cover `name`: everything after its first label.
pub(crate) fn parent(name: &str) -> Option<&str> {
    let (label, rest) = name.split_once('.')?;
    (!label.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_name_is_a_host_or_a_wildcard_of_one_whole_label() {
        for (text, read) in [
            ("School.Example", Some("school.example")),
            ("*.school.example", Some("*.school.example")),
            ("*.localhost", Some("*.localhost")),
            ("localhost", Some("localhost")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("under_score.example", Some("under_score.example")),
            ("", None),
            ("*", None),
            ("*.", None),
            ("*.*.example", None),
            ("w*.example", None),
            ("a.*.example", None),
            ("a..example", None),
            ("a b.example", None),
            ("a.example.", None),
            ("b\u{fc}cher.example", None),
        ] {
            assert_eq!(
                Name::parse(text).map(|name| name.to_string()).as_deref(),
                read,
                "{text}"
            );
        }
    }

    #[test]
    fn lower_case_is_made_on_the_stack_and_refuses_what_is_too_long() {
        assert_eq!(
            lower("a.example", |name| Some(name.to_owned())).as_deref(),
            Some("a.example")
        );
        assert_eq!(
            lower("A.ExamplE", |name| Some(name.to_owned())).as_deref(),
            Some("a.example")
        );
        assert_eq!(lower(&"A".repeat(254), |name| Some(name.to_owned())), None);
    }
}
