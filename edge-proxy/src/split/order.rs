//! The operator's order: a header that sends one request to a colour, whatever the weights are.
//!
//! ```text
//! X-Edge-Override: learn=green; expires=1795350000; mac=<base64url of HMAC-SHA256>
//! ```
//!
//! It reaches any version that is deployed, so that one without weight can be looked at from
//! outside. It is signed with a key of the config, ends by itself, and goes to no origin.

use std::path::Path;

use asset_pipeline::id::AppId;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::colour::Colour;
use crate::signing::{NoKeys, SigningKeys};

/// The longest that an order holds: who looks at a version for longer makes another one.
pub const ORDER_S_MAX: u64 = 24 * 60 * 60;

/// The keys that orders are signed with; without one there are no orders.
#[derive(Debug, Default)]
pub struct OrderKeys(SigningKeys);

/// Why there is no order.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NoOrder {
    #[error("there is no key to sign with: name the file `override_keys` in the config")]
    NoKey,
    #[error("an order holds for at most 24 hours")]
    TooLong,
}

impl OrderKeys {
    /// Reads a file of keys.
    ///
    /// # Errors
    /// When it cannot be read, or has no, weak or too many keys.
    pub fn read(path: &Path) -> Result<Self, NoKeys> {
        SigningKeys::read(path).map(Self)
    }

    /// The value of the header that sends requests for `app` to `colour` for `hold_s` from `now_s` on.
    ///
    /// # Errors
    /// When there is no key, or it would hold for too long.
    pub fn order(
        &self,
        app: &AppId,
        colour: Colour,
        now_s: u64,
        hold_s: u64,
    ) -> Result<String, NoOrder> {
        if hold_s > ORDER_S_MAX {
            return Err(NoOrder::TooLong);
        }
        let expires_s = now_s + hold_s;
        let mac = self.0.sign(&signed(app, colour, expires_s));
        let mac = mac.ok_or(NoOrder::NoKey)?;
        let mac = BASE64_URL_SAFE_NO_PAD.encode(mac);
        Ok(format!("{app}={colour}; expires={expires_s}; mac={mac}"))
    }

    /// The colour that an order names, if it is one for `app` that holds at `now_s`.
    pub(super) fn proven(&self, text: &str, app: &AppId, now_s: u64) -> Option<Colour> {
        let mut parts = text.split(';').map(|part| part.trim().split_once('='));
        let mut part = || parts.next().flatten();
        let ((named, colour), (_, expires), (_, mac)) = (
            part()?,
            part().filter(|(name, _)| *name == "expires")?,
            part().filter(|(name, _)| *name == "mac")?,
        );
        let colour: Colour = colour.parse().ok()?;
        let expires_s: u64 = expires.parse().ok()?;
        let mac = BASE64_URL_SAFE_NO_PAD.decode(mac).ok()?;
        let holds = now_s < expires_s && expires_s <= now_s + ORDER_S_MAX;
        if named != app.as_str() || !holds {
            return None;
        }
        let signed = signed(app, colour, expires_s);
        self.0.proves(&signed, &mac).then_some(colour)
    }
}

fn signed(app: &AppId, colour: Colour, expires_s: u64) -> String {
    format!("bellwether order 1\n{app}\n{colour}\n{expires_s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_350_000;

    fn keys(lines: &str) -> Result<OrderKeys, NoKeys> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), lines).expect("a file");
        OrderKeys::read(file.path())
    }

    fn key(letter: &str) -> String {
        letter.repeat(32)
    }

    #[test]
    fn an_order_holds_for_its_app_and_colour_until_it_ends() {
        let app: AppId = "learn".parse().expect("an app");
        let other: AppId = "teach".parse().expect("an app");
        let (a, b) = (key("a"), key("b"));
        let ours = keys(&a).expect("a key");
        let order = ours
            .order(&app, Colour::Green, NOW, 60)
            .expect("there is a key");
        assert_eq!(ours.proven(&order, &app, NOW), Some(Colour::Green));
        assert_eq!(ours.proven(&order, &app, NOW + 59), Some(Colour::Green));
        assert_eq!(ours.proven(&order, &app, NOW + 60), None, "it is over");
        assert_eq!(ours.proven(&order, &other, NOW), None, "another app's");
        let blue = order.replace("green", "blue");
        assert_eq!(ours.proven(&blue, &app, NOW), None, "forged");
        let longer = order.replace(&(NOW + 60).to_string(), &(NOW + 61).to_string());
        assert_eq!(ours.proven(&longer, &app, NOW), None, "forged");
        for bad in [
            "",
            "learn",
            "learn=green",
            ";;",
            "learn=red; expires=1; mac=x",
        ] {
            assert_eq!(ours.proven(bad, &app, NOW), None, "{bad}");
        }
        // While the key is changed both prove, and the new one signs.
        let both = keys(&format!("{b}\n{a}\n")).expect("two keys");
        assert_eq!(both.proven(&order, &app, NOW), Some(Colour::Green));
        assert_eq!(keys(&b).expect("a key").proven(&order, &app, NOW), None);
        assert_eq!(OrderKeys::default().proven(&order, &app, NOW), None);
    }

    #[test]
    fn an_order_is_not_made_for_long_or_without_a_key() {
        let app: AppId = "learn".parse().expect("an app");
        let ours = keys(&key("a")).expect("a key");
        assert!(ours.order(&app, Colour::Blue, NOW, ORDER_S_MAX).is_ok());
        assert!(
            ours.order(&app, Colour::Blue, NOW, ORDER_S_MAX + 1)
                .is_err()
        );
        assert!(
            OrderKeys::default()
                .order(&app, Colour::Blue, NOW, 1)
                .is_err()
        );
    }
}
