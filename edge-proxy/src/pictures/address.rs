//! Addresses of pictures that an app signs for one school.
//!
//! ```text
//! /media/2026/hill.jpg?w=640&q=75&f=auto&exp=1795350000&sig=<base64url of HMAC-SHA256, without padding>
//! ```
//!
//! What is signed are seven lines, with a line feed between each two; none of them can hold one:
//!
//! ```text
//! bellwether picture 1
//! maple                    the school, as in tenants.toml
//! /media/2026/hill.jpg     the path as it stands in the address, before `?`
//! 640                      w: pixels
//! 75                       q: of 100
//! auto                     f: auto, webp or jpeg
//! 1795350000               exp: the second since 1970 from which on it is not good any more
//! ```
//!
//! Numbers have digits and no leading zero, so there is one way to write each. Before the signature is proven
//! nothing of an address counts.

use std::str::FromStr;

use asset_pipeline::image::{Once, OnceFormat};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cache_rules::target::CanonicalPath;
use cache_rules::tenant::TenantId;

use crate::assets::images::Client;
use crate::config::checked::Pictures;
use crate::error::Refusal;
use crate::signing::SigningKeys;

/// What clients get that ask to save data, at most.
const QUALITY_LEAN: u8 = 50;

/// In which format a picture may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// WebP to clients that show it, else JPEG.
    Auto,
    /// This one.
    Only(OnceFormat),
}

impl Format {
    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(format) => format.as_str(),
        }
    }
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            _ => OnceFormat::named(name)
                .map(Self::Only)
                .ok_or("neither `auto`, `webp` nor `jpeg`"),
        }
    }
}

/// What an address says, beside the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// In pixels; nothing is enlarged.
    pub width: u32,
    /// What the encoder is asked for, of 100.
    pub quality: u8,
    /// In which format.
    pub format: Format,
    /// The second since 1970 from which on it is not good any more.
    pub expires_s: u64,
}

/// A picture that may be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// As signed.
    pub terms: Terms,
    /// The path in its one form.
    pub path: String,
    /// What the origin is asked for.
    pub source: String,
    /// How long the address is still good.
    pub left_s: u64,
}

impl Terms {
    /// The address of a picture; none: there is no key to sign with.
    pub fn address(&self, keys: &SigningKeys, tenant: &TenantId, path: &str) -> Option<String> {
        let Self {
            width,
            quality,
            format,
            expires_s,
        } = self;
        let format = format.as_str();
        let mac = keys.sign(&self.signed(tenant, path))?;
        let mac = BASE64_URL_SAFE_NO_PAD.encode(mac);
        Some(format!(
            "{path}?w={width}&q={quality}&f={format}&exp={expires_s}&sig={mac}"
        ))
    }

    fn signed(&self, tenant: &TenantId, path: &str) -> String {
        let Self {
            width,
            quality,
            format,
            expires_s,
        } = self;
        let format = format.as_str();
        format!("bellwether picture 1\n{tenant}\n{path}\n{width}\n{quality}\n{format}\n{expires_s}")
    }

    /// Reads a query: these five names, each once, and nothing else.
    fn read(query: &str) -> Option<(Self, Vec<u8>)> {
        let (mut width, mut quality, mut format, mut expires, mut mac) =
            (None, None, None, None, None);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=')?;
            let place = match name {
                "w" => &mut width,
                "q" => &mut quality,
                "f" => &mut format,
                "exp" => &mut expires,
                "sig" => &mut mac,
                _ => return None,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        let terms = Self {
            width: number(width?)?,
            quality: number(quality?)?,
            format: format?.parse().ok()?,
            expires_s: number(expires?)?,
        };
        Some((terms, BASE64_URL_SAFE_NO_PAD.decode(mac?).ok()?))
    }
}

/// Lets an address in, or says why not. `raw_path` is as it was sent.
///
/// # Errors
/// It is not signed for this school, its time is over or too long, or it asks for what is not made.
pub fn admit(
    pictures: &Pictures,
    tenant: &TenantId,
    raw_path: &str,
    query: Option<&str>,
    now_s: u64,
) -> Result<Wanted, Refusal> {
    let query = query.ok_or(Refusal::Unsigned("picture_unsigned"))?;
    let (terms, mac) = Terms::read(query).ok_or(Refusal::Unsigned("picture_query"))?;
    if !pictures.keys.proves(&terms.signed(tenant, raw_path), &mac) {
        return Err(Refusal::Unsigned("picture_signature"));
    }
    let left_s = terms.expires_s.saturating_sub(now_s);
    if left_s == 0 {
        return Err(Refusal::Unsigned("picture_expired"));
    }
    if left_s > pictures.lifetime.as_secs() {
        return Err(Refusal::Unsigned("picture_for_too_long"));
    }
    if !pictures.widths.contains(&terms.width) {
        return Err(Refusal::Picture("picture_width"));
    }
    if !pictures.qualities.contains(&terms.quality) {
        return Err(Refusal::Picture("picture_quality"));
    }
    let path = CanonicalPath::parse(raw_path).map_err(|_| Refusal::Picture("picture_path"))?;
    let path = path.as_str();
    let below = path
        .strip_prefix(pictures.path.as_str())
        .filter(|below| below.len() > 1 && below.starts_with('/'))
        .ok_or(Refusal::Picture("picture_path"))?;
    Ok(Wanted {
        terms,
        source: format!("{}{below}", pictures.media),
        path: path.to_owned(),
        left_s,
    })
}

impl Wanted {
    /// What is made for a client.
    pub(crate) fn form(&self, client: Client) -> Once {
        let Terms {
            width,
            quality,
            format,
            ..
        } = self.terms;
        Once {
            width,
            format: match format {
                Format::Only(format) => format,
                Format::Auto if client.webp => OnceFormat::Webp,
                Format::Auto => OnceFormat::Jpeg,
            },
            quality: match client.saves {
                true => quality.min(QUALITY_LEAN),
                false => quality,
            },
        }
    }

    /// What of a request the form depends on.
    pub(crate) fn varies_on(&self) -> &'static str {
        match self.terms.format {
            Format::Auto => "accept, save-data",
            Format::Only(_) => "save-data",
        }
    }
}

/// The one way to write a number.
fn number<N: FromStr>(text: &str) -> Option<N> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits && !text.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_795_350_000;

    fn keys() -> SigningKeys {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "k".repeat(32)).expect("a file");
        SigningKeys::read(file.path()).expect("a key")
    }

    fn pictures() -> Pictures {
        Pictures {
            path: "/media".to_owned(),
            media: "/files/of".to_owned(),
            keys: keys(),
            widths: vec![320, 640],
            qualities: vec![60, 75],
            lifetime: Duration::from_secs(3600),
        }
    }

    fn tenant(id: &str) -> TenantId {
        id.parse().expect("a tenant")
    }

    const TERMS: Terms = Terms {
        width: 640,
        quality: 75,
        format: Format::Auto,
        expires_s: NOW + 600,
    };

    fn address(terms: Terms, path: &str) -> String {
        let address = terms.address(&keys(), &tenant("maple"), path);
        address.expect("there is a key")
    }

    fn admitted(address: &str, of: &str, now_s: u64) -> Result<Wanted, &'static str> {
        let (path, query) = match address.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (address, None),
        };
        admit(&pictures(), &tenant(of), path, query, now_s).map_err(|refusal| refusal.map().2)
    }

    /// As the Ruby of the README makes it too, which `tests/command_line.rs` runs.
    #[test]
    fn an_address_is_made_as_it_is_described() {
        let expected = "/media/2026/hill.jpg?w=640&q=75&f=auto&exp=1795350600\
                        &sig=zGJBu1eNr_ctcHQGBxVg2jevmuNnzQ71AcnLK6fPYgs";
        assert_eq!(address(TERMS, "/media/2026/hill.jpg"), expected);
    }

    #[test]
    fn an_address_is_good_for_its_school_until_its_time_is_over() {
        let good = address(TERMS, "/media/caf%c3%a9/%7Ehill.jpg");
        let wanted = admitted(&good, "maple", NOW).expect("it is good");
        assert_eq!(wanted.path, "/media/caf%C3%A9/~hill.jpg");
        assert_eq!(wanted.source, "/files/of/caf%C3%A9/~hill.jpg");
        assert_eq!((wanted.terms, wanted.left_s), (TERMS, 600));
        let (path, query) = good.split_once('?').expect("it has a query");
        let turned: Vec<&str> = query.split('&').rev().collect();
        let turned = format!("{path}?{}", turned.join("&"));
        assert!(admitted(&turned, "maple", NOW).is_ok(), "in any order");
        assert!(admitted(&good, "maple", NOW + 599).is_ok());
        assert_eq!(admitted(&good, "maple", NOW + 600), Err("picture_expired"));
        assert_eq!(admitted(&good, "oak", NOW), Err("picture_signature"));
        let early = NOW + 599 - 3600;
        assert_eq!(admitted(&good, "maple", early), Err("picture_for_too_long"));
        assert_eq!(
            admitted("/media/hill.jpg", "maple", NOW),
            Err("picture_unsigned")
        );
    }

    #[test]
    fn what_was_changed_is_not_signed() {
        let good = address(TERMS, "/media/hill.jpg");
        for (was, is) in [
            ("hill", "hall"),
            ("/media/hill", "/media/%68ill"),
            ("w=640", "w=320"),
            ("q=75", "q=60"),
            ("f=auto", "f=webp"),
            ("exp=1795350600", "exp=1795350601"),
            ("sig=", "sig=AAAA"),
        ] {
            let changed = good.replace(was, is);
            assert_ne!(changed, good);
            let outcome = admitted(&changed, "maple", NOW);
            assert_eq!(outcome, Err("picture_signature"), "{changed}");
        }
        assert!(admitted(&good[..good.len() - 4], "maple", NOW).is_err());
    }

    #[test]
    fn an_address_is_written_in_one_way() {
        let good = address(TERMS, "/media/hill.jpg");
        for (was, is) in [
            ("w=640", "w=0640"),
            ("w=640", "w=+640"),
            ("w=640", "w=%3640"),
            ("w=640", "w="),
            ("w=640", "w"),
            ("w=640&", ""),
            ("w=640", "w=640&w=640"),
            ("w=640", "w=640&dpl=r1"),
            ("w=640", "w=640&"),
            ("w=640", "W=640"),
            ("w=640", "w=99999999999"),
            ("q=75", "q=256"),
            ("f=auto", "f=avif"),
            ("exp=", "exp=-"),
            ("sig=", "sig=%"),
            ("sig=", "sig=="),
        ] {
            let changed = good.replace(was, is);
            assert_ne!(changed, good);
            assert_eq!(
                admitted(&changed, "maple", NOW),
                Err("picture_query"),
                "{changed}"
            );
        }
        let padded = format!("{good}=");
        assert_eq!(admitted(&padded, "maple", NOW), Err("picture_query"));
    }

    #[test]
    fn what_is_signed_and_not_made_is_refused() {
        let of = |terms: Terms, path: &str| admitted(&address(terms, path), "maple", NOW);
        let wide = Terms {
            width: 641,
            ..TERMS
        };
        assert_eq!(of(wide, "/media/hill.jpg"), Err("picture_width"));
        let fine = Terms {
            quality: 100,
            ..TERMS
        };
        assert_eq!(of(fine, "/media/hill.jpg"), Err("picture_quality"));
        for path in [
            "/media",
            "/media/",
            "/media//hill.jpg",
            "/media/a%2Fb.jpg",
            "/media/a%252F.jpg",
            "/media/../up.jpg",
            "/media/a;b.jpg",
            "/mediaa/hill.jpg",
            "/other/hill.jpg",
        ] {
            assert_eq!(of(TERMS, path), Err("picture_path"), "{path}");
        }
    }

    #[test]
    fn the_form_follows_the_terms_and_the_client() {
        let wanted = |format| Wanted {
            terms: Terms { format, ..TERMS },
            path: String::new(),
            source: String::new(),
            left_s: 1,
        };
        let [plain, webp, saves] =
            [(false, false), (true, false), (true, true)].map(|(webp, saves)| Client {
                avif: true,
                webp,
                saves,
            });
        use OnceFormat::{Jpeg, Webp};
        for (format, client, made, quality) in [
            (Format::Auto, plain, Jpeg, 75),
            (Format::Auto, webp, Webp, 75),
            (Format::Auto, saves, Webp, 50),
            (Format::Only(Jpeg), webp, Jpeg, 75),
            (Format::Only(Webp), plain, Webp, 75),
        ] {
            let form = wanted(format).form(client);
            assert_eq!(
                (form.width, form.format, form.quality),
                (640, made, quality)
            );
        }
        assert_eq!(wanted(Format::Auto).varies_on(), "accept, save-data");
        assert_eq!(wanted(Format::Only(Jpeg)).varies_on(), "save-data");
    }

    proptest! {
        #[test]
        fn nothing_but_what_was_signed_is_let_in(path in "/media/[!-~]{0,20}", query in "[!-~]{0,60}") {
            prop_assert!(admit(&pictures(), &tenant("maple"), &path, Some(&query), NOW).is_err());
        }
    }
}
