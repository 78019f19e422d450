//! The files under packaging/systemd, as they were when this program was built.

use crate::change::Daemon;

/// A file below `/etc`.
pub(super) struct File {
    pub(super) folder: &'static str,
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

macro_rules! file {
    ($folder:literal, $name:literal, $path:literal) => {
        File {
            folder: $folder,
            name: $name,
            text: include_str!(concat!("../../../packaging/systemd/", $path)),
        }
    };
}

const AGENT: [File; 4] = [
    file!("systemd/system", "humed-agent.socket", "humed-agent.socket"),
    file!("systemd/system", "humed-agent.service", "humed-agent.service"),
    file!("sysusers.d", "humed-agent.conf", "sysusers.d/humed-agent.conf"),
    file!("tmpfiles.d", "humed-agent.conf", "tmpfiles.d/humed-agent.conf"),
];

const MASTER: [File; 2] = [
    file!("systemd/system", "humed-master.service", "humed-master.service"),
    file!("sysusers.d", "humed-master.conf", "sysusers.d/humed-master.conf"),
];

/// All files of this daemon.
pub(super) fn files(daemon: Daemon) -> &'static [File] {
    match daemon {
        Daemon::Agent => &AGENT,
        Daemon::Master => &MASTER,
    }
}

/// What is enabled and started.
pub(super) fn units(daemon: Daemon) -> &'static [&'static str] {
    match daemon {
        Daemon::Agent => &["humed-agent.socket", "humed-agent.service"],
        Daemon::Master => &["humed-master.service"],
    }
}
