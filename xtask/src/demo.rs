//! The main job, shown with real processes: two scripts report, the master answers, and an agent answers without it.
//!
//! It builds the programs as they are shipped, keeps everything in one temporary folder, checks the answers it shows, and leaves
//! nothing behind unless asked to.

mod folder;
mod guardian;
mod receivers;
mod site;
mod wait;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::args::Afterwards;
use crate::dist;
use crate::say::say;
use site::{Site, TELLING_HOST};

/// The cron script of hume's first README, to the letter.
const WORDPRESS_SCRIPT: &str = include_str!("../demo/wordpress_update.sh");
const WP: &str = include_str!("../demo/wp");
const BACKUP_SCRIPT: &str = include_str!("../demo/backup.sh");

/// Paths of the `WordPress` script that the demo puts stand-ins for.
const WP_PATH: &str = "/usr/local/bin/wp";
const SITES_PATH: &str = "/var/www";

/// The question of the README.
const QUESTION: [&str; 4] = ["-t", "WORDPRESS_UPDATE", "--latest", "--hostname=webserver"];

/// Events that the `WordPress` script reports: start and stop, two for each of the three sites, two errors.
const WORDPRESS_EVENTS: usize = 10;

/// Events that the backup reports.
const BACKUP_EVENTS: usize = 5;

/// Shows the main job at work, from the release build to the answers.
pub(crate) fn run(afterwards: Afterwards) -> anyhow::Result<()> {
    heading("Building the programs as they are shipped (the first time takes some minutes)")?;
    let programs = dist::build_all()?;

    heading("A CA, a master and two agents, with mutual TLS")?;
    let mut site = Site::start(&programs, afterwards)?;
    tell(&mut site, afterwards).map_err(|error| site.explain(error))?;
    match afterwards {
        Afterwards::CleanUp => {
            drop(site);
            heading("All processes have ended and the folder is removed")?;
            say("Look further: `cargo xtask demo --keep` leaves the site up and says how to ask it more.")
        }
        Afterwards::Keep => leave(site, &programs),
    }
}

fn tell(site: &mut Site, afterwards: Afterwards) -> anyhow::Result<()> {
    let stage = Stage::build(site.folder())?;

    heading("The WordPress cron script runs on webserver")?;
    say(format_args!(
        "It is unchanged but for stand-ins: {WP_PATH} is {}, {SITES_PATH} is {}.\n\
         The folder of site2 is missing, and the plugins of site3 cannot be updated.",
        stage.wp.display(),
        stage.sites.display()
    ))?;
    say(format_args!("$ {}", stage.wordpress.display()))?;
    site.run_script("webserver", &stage.wordpress)?;

    heading("A backup runs on db1")?;
    say(format_args!("$ cat {}\n{}", stage.backup.display(), BACKUP_SCRIPT.trim_end()))?;
    say(format_args!("$ {}", stage.backup.display()))?;
    site.run_script("db1", &stage.backup)?;

    heading("Five transfers of webserver's agent tell others, all at once")?;
    let config = site.agent_folder(TELLING_HOST).join("agent.toml").display().to_string();
    let receivers = site.receivers()?;
    say(format_args!("$ tail {config}\n{}", receivers.sections()?.trim_end()))?;
    let told = receivers.wait_for("site2/htdocs does not exist")?;
    say(
        "Small programs of the demo stand in for Slack, the two syslogs, Logstash and Fluentd. Of the first error each received:",
    )?;
    for line in told {
        say(line)?;
    }
    site.show(&["humed-agent", "transfer", "--config", &config, "status"], &[])?;

    heading("The master answers")?;
    let question: Vec<&str> = std::iter::once("humequery").chain(QUESTION).collect();
    site.wait_for_answer(&QUESTION, &format!("\"events\":{WORDPRESS_EVENTS},"), 1)?;
    site.wait_for_answer(&["-t", "BACKUP", "--latest"], &format!("\"events\":{BACKUP_EVENTS},"), 1)?;
    let variables = site.master_variables();
    for (name, value) in &variables {
        say(format_args!("$ export {name}={value}"))?;
    }
    stage.check(&site.show(&question, &variables)?)?;
    site.show(&["humequery", "-t", "BACKUP", "--latest"], &variables)?;

    heading("The master is stopped, and the agent answers the same question")?;
    site.stop_master()?;
    let url = format!("unix:{}", site.agent_folder("webserver").join("run/api.sock").display());
    let question: Vec<&str> = ["humequery", "--url", &url].into_iter().chain(QUESTION).collect();
    stage.check(&site.show(&question, &[])?)?;
    match afterwards {
        Afterwards::CleanUp => Ok(()),
        Afterwards::Keep => site.start_master_again(),
    }
}

/// The scripts and what they find: their stand-ins for a web server's disk.
struct Stage {
    wordpress: PathBuf,
    backup: PathBuf,
    wp: PathBuf,
    sites: PathBuf,
}

impl Stage {
    fn build(folder: &Path) -> anyhow::Result<Self> {
        let stage = Self {
            wordpress: folder.join("wordpress_update.sh"),
            backup: folder.join("backup.sh"),
            wp: folder.join("wp"),
            sites: folder.join("www"),
        };
        for name in ["site1", "site3"] {
            fs::create_dir_all(stage.sites.join(name).join("htdocs")).context("could not create a site")?;
        }
        let wordpress = with_stand_ins(WORDPRESS_SCRIPT, &stage.wp, &stage.sites);
        for (path, text) in
            [(&stage.wordpress, wordpress.as_str()), (&stage.backup, BACKUP_SCRIPT), (&stage.wp, WP)]
        {
            write_script(path, text).with_context(|| format!("could not write {}", path.display()))?;
        }
        Ok(stage)
    }

    /// That an answer shows both errors the script met. Lines may be folded anywhere, so white space says nothing.
    fn check(&self, shown: &str) -> anyhow::Result<()> {
        let sites = self.sites.display();
        let squeezed: String = shown.split_whitespace().collect();
        for error in [
            format!("{sites}/site2/htdocs does not exist"),
            format!("Plugins update error in {sites}/site3/htdocs"),
        ] {
            if !squeezed.contains(&error.split_whitespace().collect::<String>()) {
                bail!("the answer does not show the error {error:?}");
            }
        }
        Ok(())
    }
}

fn with_stand_ins(script: &str, wp: &Path, sites: &Path) -> String {
    script.replace(WP_PATH, &wp.display().to_string()).replace(SITES_PATH, &sites.display().to_string())
}

fn write_script(path: &Path, text: &str) -> std::io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// Leaves the site up and says how to ask it more and how to end it.
fn leave(site: Site, programs: &Path) -> anyhow::Result<()> {
    let ports = site.ports();
    let exports = |variables: &[(&str, String)]| -> Vec<String> {
        variables.iter().map(|(name, value)| format!("export {name}={value}")).collect()
    };
    let (to_master, to_agent) =
        (exports(&site.master_variables()), exports(&site.agent_variables("webserver")));
    let agents = site::HOSTS.map(|host| format!("  agent     {}", site.agent_folder(host).display()));
    let (pids, folder) = site.leave()?;
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let folder = folder.display();
    heading("The site stays up")?;
    say(format_args!(
        "  master    https://{}, relay on {}\n{}\n  logs      {folder}/*.log\n\n\
         To report and to ask from a shell:\n  export PATH={}:$PATH\n  {}\n  {}\n  \
         hume -t HELLO -m \"from my shell\"\n  humequery -t HELLO\n\n\
         To end it:\n  kill {} && sleep 1 && rm -r {folder}",
        ports.http,
        ports.grpc,
        agents.join("\n"),
        programs.display(),
        to_master.join("\n  "),
        to_agent.join("\n  "),
        pids.join(" ")
    ))
}

fn heading(text: &str) -> anyhow::Result<()> {
    say(format_args!("\n== {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_ins_are_all_that_changes_in_the_script() {
        let changed = with_stand_ins(WORDPRESS_SCRIPT, Path::new("/d/wp"), Path::new("/d/www"));
        let differing: Vec<_> =
            WORDPRESS_SCRIPT.lines().zip(changed.lines()).filter(|(before, after)| before != after).collect();
        assert_eq!(
            differing,
            [
                ("wpcli='/usr/local/bin/wp'", "wpcli='/d/wp'"),
                (
                    r#"for dir in "/var/www/site1/htdocs" "/var/www/site2/htdocs" "/var/www/site3/htdocs""#,
                    r#"for dir in "/d/www/site1/htdocs" "/d/www/site2/htdocs" "/d/www/site3/htdocs""#
                ),
            ]
        );
        assert_eq!(WORDPRESS_SCRIPT.lines().count(), changed.lines().count());
    }

    #[test]
    fn an_answer_without_one_of_the_errors_is_refused() {
        let folder = PathBuf::from("/d");
        let stage = Stage {
            wordpress: folder.join("w"),
            backup: folder.join("b"),
            wp: folder.join("wp"),
            sites: folder.join("www"),
        };
        let first = "error  /d/www/site2/htdocs does not\n       exist";
        let second = "error  Plugins update error in /d/www/site3/htdocs";
        assert!(stage.check(&format!("{first}\n{second}")).is_ok());
        assert!(stage.check(first).is_err());
        assert!(stage.check(second).is_err());
    }
}
