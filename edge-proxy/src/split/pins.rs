//! The cookie that binds a browser to the versions that made its pages.
//!
//! ```text
//! __Host-edge=<unit: 8 hex digits>~<app>:<release>:<expiry>~...~<base64url of HMAC-SHA256>
//! ```
//!
//! The unit is a number that was drawn once; it says on which side of a weight the browser is, and
//! nothing about a person. The MAC covers the school too: another school's cookie says nothing here.
//! A pin is not made longer by being used, so that a version is left by everybody in the end.

use asset_pipeline::id::{AppId, ReleaseId};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cache_rules::tenant::TenantId;

use super::keys::PinKeys;

/// The prefix makes browsers refuse it from another host or without TLS.
pub(super) const COOKIE_NAME: &[u8] = b"__Host-edge";

/// The longest that a pin may hold: a version that is older than a week is not kept for anybody.
pub const PIN_S_MAX: u64 = 7 * 24 * 60 * 60;

/// Apps that one browser is bound in at once; those whose pins end first go.
const PINS_MAX: usize = 8;
/// Twice what that many take.
const COOKIE_BYTES_MAX: usize = 2_800;

/// A browser's unit and what it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    unit: u32,
    pins: Vec<Pin>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pin {
    app: AppId,
    release: ReleaseId,
    until_s: u64,
}

impl Pins {
    /// Of a browser that is seen for the first time: `unit` is any number.
    pub fn of_unit(unit: u32) -> Self {
        Self {
            unit,
            pins: Vec::new(),
        }
    }

    /// What a cookie says, if this edge wrote it for this school.
    pub(super) fn proven(cookie: &str, tenant: &TenantId, keys: &PinKeys) -> Option<Self> {
        if cookie.len() > COOKIE_BYTES_MAX {
            return None;
        }
        let (said, mac) = cookie.rsplit_once('~')?;
        let mac = BASE64_URL_SAFE_NO_PAD.decode(mac).ok()?;
        let signed = signed(tenant, said);
        // Compared in constant time, before anything of it is read.
        let proven = |key: &hmac::Key| hmac::verify(key, signed.as_bytes(), &mac).is_ok();
        if !keys.any(proven) {
            return None;
        }
        let mut parts = said.split('~');
        let unit = u32::from_str_radix(parts.next()?, 16).ok()?;
        let pins = parts.map(pin).collect::<Option<Vec<_>>>()?;
        Some(Self { unit, pins })
    }

    /// The number that says on which side of a weight it is.
    pub fn unit(&self) -> u32 {
        self.unit
    }

    /// The release of `app` that it is bound to at `now_s`.
    pub fn release(&self, app: &AppId, now_s: u64) -> Option<&ReleaseId> {
        let holds =
            |pin: &&Pin| pin.app == *app && now_s < pin.until_s && pin.until_s <= now_s + PIN_S_MAX;
        self.pins.iter().find(holds).map(|pin| &pin.release)
    }

    /// The same, bound to `release` of `app` until `until_s`, without what is over at `now_s`.
    #[must_use]
    pub fn bound(&self, app: &AppId, release: &ReleaseId, now_s: u64, until_s: u64) -> Self {
        let others = self.pins.iter();
        let mut pins: Vec<Pin> = others
            .filter(|pin| pin.app != *app && now_s < pin.until_s)
            .cloned()
            .collect();
        pins.sort_by_key(|pin| pin.until_s);
        let too_many = (pins.len() + 1).saturating_sub(PINS_MAX);
        pins.drain(..too_many);
        pins.push(Pin {
            app: app.clone(),
            release: release.clone(),
            until_s,
        });
        Self {
            unit: self.unit,
            pins,
        }
    }

    /// As the value of `Set-Cookie`. It lives as long as any pin may: the unit outlives the pins, so
    /// that who comes back next day is on the same side of the weight.
    pub fn cookie(&self, tenant: &TenantId, keys: &PinKeys) -> String {
        use std::fmt::Write as _;
        let mut said = format!("{:08x}", self.unit);
        for Pin {
            app,
            release,
            until_s,
        } in &self.pins
        {
            // Writing to a String does not fail.
            let _never = write!(said, "~{app}:{release}:{until_s}");
        }
        let mac = keys.sign(signed(tenant, &said).as_bytes());
        let mac = BASE64_URL_SAFE_NO_PAD.encode(mac);
        let name = String::from_utf8_lossy(COOKIE_NAME);
        format!("{name}={said}~{mac}; Max-Age={PIN_S_MAX}; Path=/; Secure; HttpOnly; SameSite=Lax")
    }
}

fn signed(tenant: &TenantId, said: &str) -> String {
    format!("bellwether pins 1\n{tenant}\n{said}")
}

fn pin(text: &str) -> Option<Pin> {
    let mut parts = text.split(':');
    let (app, release, until_s) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    Some(Pin {
        app: app.parse().ok()?,
        release: release.parse().ok()?,
        until_s: until_s.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_795_350_000;

    fn app(name: &str) -> AppId {
        name.parse().expect("an app")
    }

    fn release(name: &str) -> ReleaseId {
        name.parse().expect("a release")
    }

    fn oak() -> TenantId {
        "oak".parse().expect("a tenant")
    }

    /// What a browser sends back.
    fn sent(pins: &Pins, keys: &PinKeys) -> String {
        let set = pins.cookie(&oak(), keys);
        let (pair, rest) = set.split_once(';').expect("attributes");
        assert_eq!(
            rest,
            " Max-Age=604800; Path=/; Secure; HttpOnly; SameSite=Lax"
        );
        let value = pair.strip_prefix("__Host-edge=").expect("the name");
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"~:._-".contains(&byte);
        assert!(value.bytes().all(fits), "{value}");
        assert!(value.len() <= COOKIE_BYTES_MAX);
        value.to_owned()
    }

    #[test]
    fn a_browser_is_bound_until_its_pin_ends() {
        let keys = PinKeys::drawn();
        let pins = Pins::of_unit(7).bound(&app("learn"), &release("r1"), NOW, NOW + 60);
        let read = Pins::proven(&sent(&pins, &keys), &oak(), &keys).expect("it is ours");
        assert_eq!(read, pins);
        assert_eq!(read.unit(), 7);
        assert_eq!(read.release(&app("learn"), NOW + 59), Some(&release("r1")));
        assert_eq!(read.release(&app("learn"), NOW + 60), None);
        assert_eq!(read.release(&app("teach"), NOW), None);
        let ahead = Pins::of_unit(7).bound(&app("learn"), &release("r1"), NOW, NOW + PIN_S_MAX + 1);
        assert_eq!(
            ahead.release(&app("learn"), NOW),
            None,
            "nobody writes that"
        );
    }

    #[test]
    fn each_app_has_its_pin_and_the_oldest_of_too_many_go() {
        let keys = PinKeys::drawn();
        let long = "x".repeat(64);
        let pins = (0..20).fold(Pins::of_unit(1), |pins, n| {
            let name = format!("{n:02}{}", "x".repeat(62));
            pins.bound(&app(&name), &release(&long), NOW, NOW + 100 + n)
        });
        assert_eq!(pins.pins.len(), PINS_MAX);
        assert_eq!(pins.pins[0].until_s, NOW + 112);
        let read = Pins::proven(&sent(&pins, &keys), &oak(), &keys);
        assert_eq!(read, Some(pins.clone()));
        let again = pins.bound(&app("learn"), &release("r2"), NOW + 1_000, NOW + 2_000);
        assert_eq!(again.pins.len(), 1, "the others are over");
    }

    #[test]
    fn a_cookie_of_another_school_or_key_says_nothing() {
        let keys = PinKeys::drawn();
        let value = sent(&Pins::of_unit(7), &keys);
        let elm: TenantId = "elm".parse().expect("a tenant");
        assert_eq!(Pins::proven(&value, &elm, &keys), None);
        assert_eq!(Pins::proven(&value, &oak(), &PinKeys::drawn()), None);
    }

    proptest! {
        #[test]
        fn no_change_of_a_cookie_is_believed(place in 0usize..200, byte in 0x21u8..0x7f) {
            let keys = PinKeys::drawn();
            let pins = Pins::of_unit(7).bound(&app("learn"), &release("r1"), NOW, NOW + 60);
            let value = sent(&pins, &keys);
            let mut forged = value.clone().into_bytes();
            let place = place % forged.len();
            forged[place] = byte;
            let forged = String::from_utf8(forged).expect("ASCII");
            prop_assume!(forged != value);
            prop_assert_eq!(Pins::proven(&forged, &oak(), &keys), None);
        }

        #[test]
        fn no_text_is_believed_and_none_panics(text: String) {
            prop_assert_eq!(Pins::proven(&text, &oak(), &PinKeys::drawn()), None);
        }
    }
}
