//! Any webhook: one request per notice, with a body, headers and a signature as configured; presets for well-known receivers.
//!
//! A receiver that gets a notice twice can know it by its event (`X-Hume-Event`), and with `sign_key` that it is hume's: the signature is
//! HMAC-SHA256 over the time of sending, a dot and the body. Nothing of an address, a token or a header's value is told.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::hmac;
use hume_runtime::clock;
use hume_runtime::config::{Secret, SecretText};
use hume_runtime::tls::hex;
use minijinja::Value;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::http::{self, ANSWER_TIME_MAX, Http, Request, Target};
use crate::notice::Notice;
use crate::options::options;
use crate::template::{Output, Sources, Templates};
use crate::transfer::{BoxFuture, Delivery, Manner, OpenError, Setting, Trail, Transfer};

mod presets;
use presets::{PLAIN, Preset, Recipe};

pub(super) const MANNER: Manner = Manner::PEOPLE;

const JSON: &str = "application/json";
const HIDDEN: &str = "***";

options! {
    /// `[transfer.NAME.http]`
    pub struct Options {
        /// Where to; it may hold a token. Only some presets know it themselves.
        #[serde(default)]
        pub url: Option<Secret>,
        /// A well-known receiver: its path, its headers, its body.
        #[serde(default)]
        pub preset: Option<Preset>,
        /// How.
        #[serde(default)]
        pub method: Verb,
        /// More headers; their values are never told.
        #[serde(default)]
        pub headers: BTreeMap<String, Secret>,
        /// For presets that want one, else as `Authorization: Bearer`; `token` in templates.
        #[serde(default)]
        pub token: Option<Secret>,
        /// What templates see as `values.KEY`.
        #[serde(default)]
        pub values: BTreeMap<String, String>,
        /// The template of the body; a file when missing, else the preset's.
        #[serde(default)]
        pub body: Option<String>,
        /// Of the body.
        #[serde(default = "content_type_default")]
        pub content_type: String,
        /// Signs each request.
        #[serde(default)]
        pub sign_key: Option<Secret>,
        /// Certificates to trust in place of the system's.
        #[serde(default)]
        pub ca: Option<PathBuf>,
    }
}

fn content_type_default() -> String {
    JSON.to_owned()
}

/// Methods that carry a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// The usual one.
    #[default]
    Post,
    /// For some.
    Put,
    /// For few.
    Patch,
}

impl Verb {
    fn method(self) -> reqwest::Method {
        match self {
            Verb::Post => reqwest::Method::POST,
            Verb::Put => reqwest::Method::PUT,
            Verb::Patch => reqwest::Method::PATCH,
        }
    }
}

pub(super) fn open(options: &Options, setting: &Setting<'_>) -> Result<Box<dyn Transfer>, OpenError> {
    open_within(options, setting, ANSWER_TIME_MAX).map(|webhook| Box::new(webhook) as Box<dyn Transfer>)
}

fn open_within(
    options: &Options,
    setting: &Setting<'_>,
    answer_time_max: Duration,
) -> Result<Webhook, OpenError> {
    let recipe = options.preset.map_or(PLAIN, Preset::recipe);
    let read =
        |key: &'static str, secret: &Secret| secret.read(setting.config_file).map_err(OpenError::secret(key));
    let token = options.token.as_ref().map(|token| read("token", token)).transpose()?;
    let sign_key = options.sign_key.as_ref().map(|key| read("sign_key", key)).transpose()?;
    check(options, &recipe)?;
    let url = match (&options.url, recipe.url) {
        (Some(url), _) => read("url", url)?,
        (None, Some(url)) => SecretText::new(url),
        (None, None) => return Err(OpenError::value("url", "must be there")),
    };
    let mut target = Target::parse("url", &url, &["https", "http"])?.with_path(recipe.path);
    let mut headers = HeaderMap::new();
    let content_type = HeaderValue::from_str(&options.content_type)
        .map_err(|_| OpenError::value("content_type", "has characters that no header has"))?;
    headers.insert(CONTENT_TYPE, content_type);
    if let (Some((name, before)), Some(token)) = (recipe.token, &token) {
        let (name, value) = http::header("token", name, &format!("{before}{}", token.expose()))?;
        headers.insert(name, value);
    }
    for (name, secret) in &options.headers {
        let secret = read("headers", secret)?;
        target.hide(secret.expose());
        let (name, value) = http::header("headers", name, secret.expose())?;
        headers.insert(name, value);
    }
    token.iter().chain(&sign_key).for_each(|secret| target.hide(secret.expose()));
    let common = options.common();
    let sources = Sources {
        kind: "http",
        base: common.template.as_deref(),
        inline: options.body.as_deref().map(|body| ("body", body)),
        built_in: recipe.body,
    };
    let output = if options.content_type.contains("json") { Output::Json } else { Output::Text };
    Ok(Webhook {
        is_about_incidents: matches!(options.preset, Some(Preset::PagerDuty | Preset::Alertmanager)),
        http: Http::open(options.ca.as_deref(), setting, answer_time_max)?,
        target,
        method: options.method.method(),
        headers,
        token,
        values: options.values.clone(),
        sign_key: sign_key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes())),
        templates: Templates::open_as(output, &sources, setting),
    })
}

fn check(options: &Options, recipe: &Recipe) -> Result<(), OpenError> {
    if recipe.needs_token && options.token.is_none() {
        return Err(OpenError::value("token", "must be there for this preset"));
    }
    match recipe.needs_values.iter().find(|key| !options.values.contains_key(**key)) {
        Some(key) => Err(OpenError::value("values", format!("must have `{key}` for this preset"))),
        None => Ok(()),
    }
}

struct Webhook {
    http: Http,
    target: Target,
    method: reqwest::Method,
    headers: HeaderMap,
    token: Option<SecretText>,
    values: BTreeMap<String, String>,
    sign_key: Option<hmac::Key>,
    templates: Templates,
    /// Whether the receiver opens and closes incidents by what it gets.
    is_about_incidents: bool,
}

impl Transfer for Webhook {
    fn deliver<'a>(&'a mut self, notices: &'a [Notice], trail: &'a mut Trail) -> BoxFuture<'a, Delivery> {
        Box::pin(async move {
            for (settled, notice) in notices.iter().enumerate() {
                if let Err(trouble) = self.http.send(self.request(notice), trail).await {
                    return Delivery::stopped(settled, trouble);
                }
            }
            Delivery::all(notices)
        })
    }

    fn templates(&self) -> Option<&Templates> {
        Some(&self.templates)
    }

    fn folds(&self) -> bool {
        !self.is_about_incidents
    }

    fn preview(&self, notice: &Notice) -> String {
        let mut text = format!("{} {}\n", self.method, self.target);
        for (name, value) in &self.headers {
            let value = if name == CONTENT_TYPE { value.to_str().unwrap_or(HIDDEN) } else { HIDDEN };
            let _ = writeln!(text, "{name}: {value}");
        }
        let hidden = self.token.as_ref().map(|_| HIDDEN);
        format!("{text}\n{}", self.target.without_secrets(&self.body(notice, hidden)))
    }
}

impl Webhook {
    fn body(&self, notice: &Notice, token: Option<&str>) -> String {
        let values = Value::from_pairs(self.values.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        self.templates.render_with(notice, &[("token", Value::from(token)), ("values", values)]).text
    }

    fn request(&self, notice: &Notice) -> Request<'_> {
        let body = self.body(notice, self.token.as_ref().map(SecretText::expose));
        let mut headers = self.headers.clone();
        headers.insert(
            HeaderName::from_static("x-hume-event"),
            HeaderValue::from_str(&notice.event.event.id.to_string())
                .unwrap_or(HeaderValue::from_static(HIDDEN)),
        );
        if let Some(key) = &self.sign_key {
            let now = clock::now().as_micros() / 1_000_000;
            headers.insert(HeaderName::from_static("x-hume-timestamp"), HeaderValue::from(now));
            if let Ok(signature) = HeaderValue::from_str(&signature(key, now, &body)) {
                headers.insert(HeaderName::from_static("x-hume-signature"), signature);
            }
        }
        Request { target: &self.target, method: self.method.clone(), headers, body }
    }
}

/// `sha256=` and the HMAC-SHA256 over `TIMESTAMP.BODY` in hexadecimal.
fn signature(key: &hmac::Key, timestamp: i64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{timestamp}.{body}").as_bytes());
    format!("sha256={}", hex(tag.as_ref()))
}

#[cfg(test)]
mod tests;
