//! `[apps.X.pictures]`: pictures of schools, by addresses that the app signs.

use asset_pipeline::manifest::ImageRules;
use schemars::JsonSchema;
use serde::Deserialize;

/// A day: a page that was opened in the morning still shows its pictures at night.
const LIFETIME_S_MAX: f64 = 86_400.0;

/// Pictures of what the people of schools uploaded, by addresses that the app signs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Pictures {
    /// The prefix of the addresses, such as `/media`: below it nobody gets anything without a signature.
    pub(in crate::config) path: String,
    /// The prefix below which the app has the files; `path` by default.
    pub(in crate::config) media: Option<String>,
    /// The file of one or two lines, each a key of 32 bytes or more, that addresses are signed with.
    pub(in crate::config) keys: String,
    /// The widths that may be asked for; those of Next.js by default.
    #[serde(default = "widths")]
    #[schemars(length(min = 1, max = 64), inner(range(min = 1, max = 3840)))]
    pub(in crate::config) widths: Vec<u32>,
    /// The qualities that may be asked for, of 100: what an encoder is asked for, so more is more bytes.
    #[serde(default = "qualities")]
    #[schemars(length(min = 1, max = 100), inner(range(min = 1, max = 100)))]
    pub(in crate::config) qualities: Vec<u8>,
    /// The longest that an address may be good.
    #[serde(default = "lifetime_s_max")]
    #[schemars(range(min = 60, max = 604_800))]
    pub(in crate::config) lifetime_s_max: f64,
}

fn widths() -> Vec<u32> {
    ImageRules::default().widths
}

fn qualities() -> Vec<u8> {
    ImageRules::default().qualities
}

fn lifetime_s_max() -> f64 {
    LIFETIME_S_MAX
}
