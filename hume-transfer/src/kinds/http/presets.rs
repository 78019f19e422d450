//! What well-known receivers want: a path, headers and a body, as text. To add one is to add a line and a template here.

use serde::Deserialize;

/// A receiver that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// ntfy.sh, or one's own.
    Ntfy,
    /// Gotify.
    Gotify,
    /// `PagerDuty`, Events API v2.
    PagerDuty,
    /// Prometheus' Alertmanager, API v2.
    Alertmanager,
    /// Mattermost's incoming webhooks.
    Mattermost,
    /// Discord's webhooks.
    Discord,
    /// Workflows of Microsoft Teams.
    Teams,
}

/// What a preset stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recipe {
    /// The address, where there is one for all.
    pub(super) url: Option<&'static str>,
    /// The path of an address that has none.
    pub(super) path: &'static str,
    /// The header that the token goes into, and what stands before it; none when the body has it or nobody asks for one.
    pub(super) token: Option<(&'static str, &'static str)>,
    /// Without a token nothing can be sent.
    pub(super) needs_token: bool,
    /// Keys of `values` that must be there.
    pub(super) needs_values: &'static [&'static str],
    /// The body, in JSON.
    pub(super) body: &'static str,
}

/// What is sent without a preset: the notice as it is, in JSON.
pub(super) const PLAIN: Recipe = Recipe {
    url: None,
    path: "/",
    token: BEARER,
    needs_token: false,
    needs_values: &[],
    body: "{{ notice | json }}",
};

const BEARER: Option<(&str, &str)> = Some(("authorization", "Bearer "));

impl Preset {
    pub(super) fn recipe(self) -> Recipe {
        match self {
            Preset::Ntfy => {
                Recipe { needs_values: &["topic"], body: include_str!("presets/ntfy.json.tpl"), ..PLAIN }
            }
            Preset::Gotify => Recipe {
                path: "/message",
                token: Some(("x-gotify-key", "")),
                needs_token: true,
                body: include_str!("presets/gotify.json.tpl"),
                ..PLAIN
            },
            Preset::PagerDuty => Recipe {
                url: Some("https://events.pagerduty.com/v2/enqueue"),
                token: None,
                needs_token: true,
                body: include_str!("presets/pagerduty.json.tpl"),
                ..PLAIN
            },
            Preset::Alertmanager => Recipe {
                path: "/api/v2/alerts",
                body: include_str!("presets/alertmanager.json.tpl"),
                ..PLAIN
            },
            Preset::Mattermost => Recipe { body: include_str!("presets/mattermost.json.tpl"), ..PLAIN },
            Preset::Discord => Recipe { body: include_str!("presets/discord.json.tpl"), ..PLAIN },
            Preset::Teams => Recipe { body: include_str!("presets/teams.json.tpl"), ..PLAIN },
        }
    }
}
