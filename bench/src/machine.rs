//! Where and when something was measured: figures mean nothing without it.

use std::fmt;
use std::fs;
use std::path::Path;

use hume_runtime::clock;
use serde_json::{Value, json};

/// What a figure depends on beside the program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    date: String,
    command: String,
    version: String,
    kernel: String,
    processor: String,
    cores: usize,
    file_system: String,
}

impl Machine {
    /// This one, now; `folder` is where data is written.
    pub(crate) fn here(command: String, folder: &Path) -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo");
        let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Machine {
            date: clock::now().to_string(),
            command,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: processor.map_or("unknown", |(_, name)| name).trim().to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            file_system: file_system(&read("/proc/self/mounts"), folder).unwrap_or("unknown".to_owned()),
        }
    }

    pub(crate) fn json(&self) -> Value {
        let Machine { date, command, version, kernel, processor, cores, file_system } = self;
        json!({
            "date": date, "command": command, "version": version, "kernel": kernel, "processor": processor,
            "cores": cores, "file_system": file_system,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { date, command, version, kernel, processor, cores, file_system } = self;
        write!(
            f,
            "{command}\nhume {version}, {date}, Linux {kernel}, {cores} cores of {processor}, data on {file_system}"
        )
    }
}

/// The kind of the file system that `folder` lies on: the longest mount point that it is below.
fn file_system(mounts: &str, folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().unwrap_or(folder.to_path_buf());
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let here = mounted.filter(|(place, _)| folder.starts_with(place));
    here.max_by_key(|(place, _)| place.len()).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_says_which_file_system_it_is() {
        let mounts = "a / ext4 rw 0 0\nb /home xfs rw 0 0\nc /homes tmpfs rw 0 0\n";
        let of = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!(of("/home/x-that-is-not-there"), Some("xfs".to_owned()));
        assert_eq!(of("/srv-that-is-not-there"), Some("ext4".to_owned()));
    }
}
