//! In which time zone this host lives, by its IANA name: what schedules without a zone of their own are read in.
//!
//! As the C library finds it for cron: `TZ` first, then where `/etc/localtime` leads. A copy in that place has no name, so
//! `/etc/timezone` is asked (Debian); a host without any of these lives in UTC. The master decides what a name means.

use std::path::Path;

/// What a name begins after, wherever the system keeps its zones.
const ZONES: &str = "zoneinfo/";
/// Folders below which the same zones are kept once more, with and without leap seconds.
const VARIANTS: [&str; 2] = ["posix/", "right/"];

/// What a host says of its zone.
#[derive(Debug, Default)]
struct Said<'a> {
    /// `TZ` of the agent.
    tz: Option<&'a str>,
    /// There is an `/etc/localtime`.
    has_localtime: bool,
    /// Where it leads, when it is a link.
    link: Option<&'a str>,
    /// The content of `/etc/timezone`.
    file: Option<&'a str>,
}

/// The zone of this host now; none when it has no name.
pub(super) fn zone() -> Option<String> {
    let tz = std::env::var("TZ").ok();
    let localtime = Path::new("/etc/localtime");
    let link = std::fs::read_link(localtime).ok().map(|link| link.to_string_lossy().into_owned());
    let file = std::fs::read_to_string("/etc/timezone").ok();
    name(&Said {
        tz: tz.as_deref(),
        has_localtime: localtime.symlink_metadata().is_ok(),
        link: link.as_deref(),
        file: file.as_deref(),
    })
}

fn name(said: &Said<'_>) -> Option<String> {
    let Said { tz, has_localtime, link, file } = *said;
    if let Some(tz) = tz.map(|tz| tz.strip_prefix(':').unwrap_or(tz)).filter(|tz| !tz.is_empty()) {
        // A rule such as `CET-1CEST` has no name, and is the zone all the same.
        return named(below(tz).unwrap_or(tz));
    }
    if let Some(name) = link.and_then(below) {
        return named(name);
    }
    let Some(file) = file else { return (!has_localtime).then(|| "UTC".to_owned()) };
    named(file.lines().next().unwrap_or_default().trim())
}

/// The part of a path that is the name of a zone.
fn below(path: &str) -> Option<&str> {
    let (_, name) = path.rsplit_once(ZONES)?;
    Some(VARIANTS.iter().find_map(|variant| name.strip_prefix(variant)).unwrap_or(name))
}

fn named(text: &str) -> Option<String> {
    let is_word = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(|first| first.is_ascii_alphabetic())
            && chars.all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c))
    };
    // `EST5EDT` is both; with a sign or a comma and no slash it is a rule.
    let is_rule = !text.contains('/') && text.contains([',', '-', '+']);
    (text.len() <= hume_proto::relay::ZONE_BYTES_MAX && !is_rule && text.split('/').all(is_word))
        .then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_says_its_zone_as_cron_on_it_would_find_it() {
        let link = Some("/usr/share/zoneinfo/Europe/Berlin");
        let with_link = |tz| Said { tz, has_localtime: true, link, file: Some("Etc/UTC\n") };
        for (said, expected) in [
            (with_link(None), Some("Europe/Berlin")),
            (with_link(Some("")), Some("Europe/Berlin")),
            (with_link(Some("Asia/Kolkata")), Some("Asia/Kolkata")),
            (with_link(Some(":America/Argentina/Buenos_Aires")), Some("America/Argentina/Buenos_Aires")),
            (with_link(Some(":/usr/share/zoneinfo/Etc/GMT+5")), Some("Etc/GMT+5")),
            (with_link(Some("EST5EDT")), Some("EST5EDT")),
            (with_link(Some("CET-1CEST,M3.5.0,M10.5.0/3")), None),
            (with_link(Some("CET-1")), None),
            (with_link(Some("/etc/localtime")), None),
            (
                Said {
                    has_localtime: true,
                    link: Some("../usr/share/zoneinfo/posix/Asia/Tokyo"),
                    ..Said::default()
                },
                Some("Asia/Tokyo"),
            ),
            (
                Said { has_localtime: true, file: Some("Europe/Paris\n"), ..Said::default() },
                Some("Europe/Paris"),
            ),
            (Said { has_localtime: true, ..Said::default() }, None),
            (Said { has_localtime: true, file: Some("what ever\n"), ..Said::default() }, None),
            (Said::default(), Some("UTC")),
        ] {
            assert_eq!(name(&said).as_deref(), expected, "{said:?}");
        }
    }
}
