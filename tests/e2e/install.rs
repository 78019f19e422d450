//! `humeconfig --install-systemd --root` into the folder of an image: files, users, owners, what is enabled, and once is enough.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use hume_tests::process::{self, Output};
use hume_tests::{Folder, skip};

const UNITS: &str = "etc/systemd/system";

/// A root with the daemons in it, and a configuration whose secrets are root's.
struct Image {
    _folder: Arc<Folder>,
    root: PathBuf,
}

impl Image {
    fn new(programs: &str) -> Image {
        let folder = Folder::new();
        let root = folder.path().join("image");
        let image = Image { _folder: folder, root };
        for program in ["humed-agent", "humed-master"] {
            image.file(&format!("{programs}/{program}"), "", 0o755);
        }
        let agent = "[master]\naddress = \"m:4863\"\n[transfer.ops.slack]\nwebhook = { file = \"credentials/ops\" }\n";
        image.file("etc/hume/agent.toml", agent, 0o640);
        image.file("etc/hume/master.toml", "[store]\npath = \"state/store.db\"\n", 0o644);
        for name in ["pki/ca.pem", "pki/agent.pem", "pki/agent.key", "credentials/ops"] {
            image.file(&format!("etc/hume/{name}"), "secret\n", 0o600);
        }
        image
    }

    fn file(&self, name: &str, text: &str, mode: u32) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.root.join(name)).unwrap()
    }

    fn install(&self, words: &[&str]) -> Output {
        let mut command = process::command("humeconfig");
        process::run(command.arg("--install-systemd").arg("--root").arg(&self.root).args(words))
    }

    fn owner(&self, name: &str) -> (u32, u32) {
        let about = fs::symlink_metadata(self.root.join(name)).unwrap();
        (about.uid(), about.gid())
    }

    fn user(&self, name: &str) -> u32 {
        let users = self.text("etc/passwd");
        let line = users.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        line.split(':').nth(2).unwrap().parse().unwrap()
    }

    /// All paths with owner, mode and length.
    fn all(&self) -> Vec<String> {
        let listed = Command::new("find").arg(&self.root).args(["-printf", "%p %U %G %m %s %l\n"]).output();
        let mut lines: Vec<String> =
            String::from_utf8(listed.unwrap().stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

fn can_install() -> bool {
    let here =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if !["systemd-sysusers", "systemd-tmpfiles", "systemctl"].into_iter().all(here) {
        skip("systemd's programs are not installed");
        return false;
    }
    if !rustix::process::geteuid().is_root() {
        skip("only root can make users and give files away");
        return false;
    }
    true
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink())
}

#[test]
fn an_agent_gets_its_units_its_user_its_folders_and_its_files_once() {
    if !can_install() {
        return;
    }
    let image = Image::new("usr/local/sbin");
    image.install(&[]).ok();
    let service = image.text(&format!("{UNITS}/humed-agent.service"));
    let start = "ExecStart=/usr/local/sbin/humed-agent --config /etc/hume/agent.toml\n";
    assert!(service.contains(start) && !service.contains("/usr/sbin/humed-agent"), "{service}");
    assert!(image.root.join(format!("{UNITS}/humed-agent.socket")).is_file());
    let wanted =
        [("sockets.target.wants", "humed-agent.socket"), ("multi-user.target.wants", "humed-agent.service")];
    for (target, unit) in wanted {
        assert!(is_link(&image.root.join(UNITS).join(target).join(unit)), "{unit} is not enabled");
    }
    let hume = image.user("hume");
    for name in ["pki", "pki/ca.pem", "pki/agent.key", "credentials/ops"] {
        assert_eq!(image.owner(&format!("etc/hume/{name}")).0, hume, "{name}");
    }
    assert_eq!(image.owner("var/spool/hume/drop").0, hume);
    // The configuration stays root's; the daemon may read it.
    let (user, group) = image.owner("etc/hume/agent.toml");
    assert_eq!((user, group), (0, hume));
    assert_eq!(image.owner("etc/hume"), (0, 0));

    let before = image.all();
    let again = image.install(&[]);
    assert!(!again.ok().stdout.contains("made") && !again.stdout.contains("gave"), "{again:#?}");
    assert_eq!(image.all(), before);
}

#[test]
fn a_unit_that_was_changed_is_kept_beside_the_new_one_and_a_packages_stays() {
    if !can_install() {
        return;
    }
    let image = Image::new("usr/sbin");
    image.file(&format!("{UNITS}/humed-agent.service"), "[Service]\nExecStart=/mine\n", 0o644);
    let packaged = "[Socket]\nListenStream=/run/hume/hume.sock\n[Install]\nWantedBy=sockets.target\n";
    image.file("usr/lib/systemd/system/humed-agent.socket", packaged, 0o644);
    let said = image.install(&[]).ok().stdout.clone();
    let (_, old) = said.split_once("humed-agent.service (the old one is ").unwrap();
    let old = old.split_once(')').unwrap().0;
    assert_eq!(fs::read_to_string(old).unwrap(), "[Service]\nExecStart=/mine\n");
    assert!(said.contains("humed-agent.socket: it is a package's"), "{said}");
    assert!(!image.root.join(format!("{UNITS}/humed-agent.socket")).exists());
}

#[test]
fn a_master_gets_its_own_and_a_folder_beside_its_configuration_is_opened_and_its_own() {
    if !can_install() {
        return;
    }
    let image = Image::new("usr/sbin");
    for name in ["pki/master.pem", "pki/master.key"] {
        image.file(&format!("etc/hume/{name}"), "secret\n", 0o600);
    }
    image.file("etc/hume/state/store.db", "", 0o600);
    let installed = image.install(&["--of", "master"]);
    assert!(
        installed.ok().stdout.contains("+ReadWritePaths") || installed.stdout.contains("folders.conf"),
        "{installed:#?}"
    );
    let drop_in = image.text(&format!("{UNITS}/humed-master.service.d/folders.conf"));
    assert!(drop_in.ends_with("[Service]\nReadWritePaths=-/etc/hume/state\n"), "{drop_in}");
    for name in ["state", "state/store.db"] {
        assert_eq!(image.owner(&format!("etc/hume/{name}")).0, image.user("hume-master"), "{name}");
    }
    assert!(installed.stdout.contains("holds keys of others as well"), "{installed:#?}");
    assert_eq!(image.owner("etc/hume/pki").0, 0);
    assert_eq!(image.owner("etc/hume/pki/master.key").0, image.user("hume-master"));
    assert_eq!(image.owner("etc/hume/pki/agent.key").0, 0);
    assert!(is_link(&image.root.join(UNITS).join("multi-user.target.wants/humed-master.service")));
}

#[test]
fn a_dry_run_says_all_of_it_and_does_none() {
    let image = Image::new("usr/sbin");
    let before = image.all();
    let dry = image.install(&["--dry"]);
    for part in
        ["+ExecStart=/usr/sbin/humed-agent", "would run: systemd-sysusers --root=", "would give to hume: "]
    {
        assert!(dry.ok().stdout.contains(part), "{part}: {}", dry.stdout);
    }
    assert_eq!(image.all(), before);
}

#[test]
fn what_is_missing_is_told_before_anything_is_made() {
    let image = Image::new("usr/sbin");
    fs::remove_file(image.root.join("usr/sbin/humed-agent")).unwrap();
    let before = image.all();
    let refused = image.install(&[]);
    assert!(refused.with_code(78).stderr.contains("humed-agent is in none of /usr/sbin"), "{refused:#?}");
    fs::remove_file(image.root.join("etc/hume/agent.toml")).unwrap();
    assert!(image.install(&[]).with_code(78).stderr.contains("etc/hume/agent.toml does not exist"));
    let refused = image.install(&["--syslog"]);
    assert!(refused.with_code(64).stderr.contains("--root is for --install-systemd alone"), "{refused:#?}");
    let refused = image.install(&["--config", "/srv/agent.toml"]);
    assert!(refused.with_code(64).stderr.contains("the unit reads /etc/hume/agent.toml"), "{refused:#?}");
    assert_eq!(image.all().len(), before.len() - 1);
    if !Path::new("/run/systemd/system").exists() {
        let refused = process::run(process::command("humeconfig").arg("--install-systemd"));
        assert!(refused.with_code(69).stderr.contains("systemd does not run this host"), "{refused:#?}");
        // Before a token is even looked at.
        let join = process::run(process::command("humeconfig").args(["join", "x", "--install-systemd"]));
        assert!(join.with_code(69).stderr.contains("systemd does not run this host"), "{join:#?}");
    }
}
