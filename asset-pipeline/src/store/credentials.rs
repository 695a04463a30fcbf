//! Where the secrets of a bucket come from: the environment, or the files that other tools of its kind use.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use object_store::aws::AmazonS3ConfigKey;

/// What the environment may say. Not in it: whatever would weaken the connection.
const FROM_THE_ENVIRONMENT: [&str; 11] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];
/// Those that say who asks.
const WHO: [&str; 4] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];
/// Larger ones are something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What was found. It has no `Debug`: nothing may print it.
pub(super) struct Found {
    pub(super) settings: Vec<(AmazonS3ConfigKey, String)>,
    pub(super) endpoint: Option<String>,
}

/// Looks into the environment first.
///
/// # Errors
///
/// A file that the environment names cannot be read, without its content.
pub(super) fn found() -> Result<Found, String> {
    let said = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let mut settings = Vec::new();
    for name in FROM_THE_ENVIRONMENT {
        if let (Some(value), Ok(key)) = (said(name), name.to_ascii_lowercase().parse()) {
            settings.push((key, value));
        }
    }
    let mut endpoint = said("AWS_ENDPOINT_URL_S3").or_else(|| said("AWS_ENDPOINT_URL"));
    let profile = said("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    let home = said("HOME").map(|home| PathBuf::from(home).join(".aws"));
    let file = |variable: &str, name: &str| match said(variable) {
        Some(named) => read(Path::new(&named)).map(Some),
        None => Ok(home.as_ref().and_then(|home| read(&home.join(name)).ok())),
    };
    if !WHO.iter().any(|name| said(name).is_some())
        && let Some(text) = file("AWS_SHARED_CREDENTIALS_FILE", "credentials")?
    {
        for (name, key) in [
            ("aws_access_key_id", AmazonS3ConfigKey::AccessKeyId),
            ("aws_secret_access_key", AmazonS3ConfigKey::SecretAccessKey),
            ("aws_session_token", AmazonS3ConfigKey::Token),
        ] {
            settings.extend(value(&text, &profile, name).map(|value| (key, value)));
        }
    }
    if let Some(text) = file("AWS_CONFIG_FILE", "config")? {
        let section = match profile.as_str() {
            "default" => profile,
            other => format!("profile {other}"),
        };
        endpoint = endpoint.or_else(|| value(&text, &section, "endpoint_url"));
        if said("AWS_REGION").is_none() && said("AWS_DEFAULT_REGION").is_none() {
            let region = value(&text, &section, "region");
            settings.extend(region.map(|region| (AmazonS3ConfigKey::Region, region)));
        }
    }
    Ok(Found { settings, endpoint })
}

fn read(file: &Path) -> Result<String, String> {
    let wrong = |reason: &str| format!("{}: {reason}", file.display());
    let length = fs::metadata(file).map_err(|error| wrong(&error.to_string()))?;
    if length.len() > FILE_BYTES_MAX {
        return Err(wrong("it is too large to be a file of credentials"));
    }
    fs::read_to_string(file).map_err(|error| wrong(&error.to_string()))
}

/// A value of a section: `[name]`, then lines of `key = value`.
fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            inside = name.trim_end_matches(']').trim() == section;
        } else if inside
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_that_of_its_section() {
        let text = "# two\n[default]\nregion = eu-1\naws_access_key_id=A\n\n[ profile ci ]\nregion=eu-2\nempty =\n";
        for (section, key, expected) in [
            ("default", "region", Some("eu-1")),
            ("default", "aws_access_key_id", Some("A")),
            ("profile ci", "region", Some("eu-2")),
            ("profile ci", "aws_access_key_id", None),
            ("profile ci", "empty", None),
            ("other", "region", None),
        ] {
            assert_eq!(
                value(text, section, key).as_deref(),
                expected,
                "{section} {key}"
            );
        }
    }

    #[test]
    fn every_name_is_one_that_is_understood() {
        for name in FROM_THE_ENVIRONMENT {
            let key = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>();
            assert!(key.is_ok(), "{name}");
        }
    }
}
