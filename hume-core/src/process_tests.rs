//! Chains by hand and texts of /proc: which process owns a run, and where its job ends.

use super::*;

fn link(pid: u32, comm: &str) -> Link {
    Link {
        process: ProcessRef { pid, start_ticks: u64::from(pid) },
        comm: comm.to_owned(),
        terminal_leader: false,
        subshell: false,
        shell_text: false,
    }
}

fn chain(links: Vec<Link>) -> Chain {
    Chain::new(links)
}

#[test]
fn a_name_with_spaces_and_parentheses_is_read_whole() {
    let text = "42 (my (odd) name) S 7 42 42 34816 42 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
    let read = parse_stat(42, text).unwrap();
    assert_eq!(
        (read.comm.as_str(), read.parent, read.session, read.terminal),
        ("my (odd) name", 7, 42, 34816)
    );
    assert_eq!(read.start_ticks, 987_654);
    assert!(parse_stat(43, text).is_none(), "the file is of another process");
    for garbage in ["", "42", "42 (", "42 ) S (", "42 (x) S"] {
        assert!(parse_stat(42, garbage).is_none());
    }
}

#[test]
fn under_cron_the_job_root_is_the_shell_that_cron_started() {
    let mut sh = link(30, "sh");
    sh.shell_text = true;
    let chain =
        chain(vec![link(50, "hume"), link(40, "backup.sh"), sh, link(20, "cron"), link(1, "systemd")]);
    assert_eq!(chain.job_root().unwrap().pid, 30);
    assert_eq!(chain.owner().unwrap().pid, 40);
}

#[test]
fn a_cron_line_that_calls_hume_itself_is_owned_by_its_shell() {
    let mut sh = link(30, "sh");
    sh.shell_text = true;
    let chain = chain(vec![link(50, "hume"), sh, link(20, "cron"), link(1, "systemd")]);
    assert_eq!(chain.owner().unwrap().pid, 30);
}

#[test]
fn typed_at_a_terminal_the_shell_itself_is_root_and_owner() {
    let mut bash = link(30, "bash");
    bash.terminal_leader = true;
    let typed = chain(vec![link(50, "hume"), bash.clone(), link(20, "sshd"), link(1, "systemd")]);
    assert_eq!(typed.job_root().unwrap().pid, 30);
    assert_eq!(typed.owner().unwrap().pid, 30);
    let script = chain(vec![link(50, "hume"), link(40, "x.sh"), bash, link(1, "systemd")]);
    assert_eq!(script.job_root().unwrap().pid, 40);
    assert_eq!(script.owner().unwrap().pid, 40);
}

#[test]
fn subshells_and_wrappers_own_nothing() {
    let mut sub = link(45, "backup.sh");
    sub.subshell = true;
    let chain =
        chain(vec![link(50, "hume"), link(48, "timeout"), sub, link(40, "backup.sh"), link(1, "init")]);
    assert_eq!(chain.owner().unwrap().pid, 40);
}

#[test]
fn a_program_that_speaks_to_the_socket_itself_is_its_own_owner() {
    let chain = chain(vec![link(50, "python3"), link(40, "sh"), link(1, "init")]);
    assert_eq!(chain.owner().unwrap().pid, 50);
}

#[test]
fn the_deepest_common_process_is_not_looked_for_above_the_job_root() {
    let one = chain(vec![link(50, "hume"), link(40, "a.sh"), link(20, "cron"), link(1, "systemd")]);
    let two = chain(vec![link(51, "hume"), link(41, "b.sh"), link(20, "cron"), link(1, "systemd")]);
    assert_eq!(one.deepest_common(&two), None);
    assert_eq!(one.deepest_common(&one), Some(0));
}

#[test]
fn a_pid_used_again_is_another_process() {
    let one = chain(vec![link(50, "hume"), link(40, "a.sh"), link(1, "systemd")]);
    let mut again = link(40, "a.sh");
    again.process.start_ticks = 99;
    let two = chain(vec![link(51, "hume"), again, link(1, "systemd")]);
    assert_eq!(one.deepest_common(&two), None);
}

#[test]
fn a_chain_ends_where_proc_cannot_be_read() {
    let chain = Chain::follow(
        10,
        |pid| (pid == 10).then(|| "10 (x) S 9 10 10 0 -1 64 0 0 0 0 0 0 0 0 20 0 1 0 5 0".to_owned()),
        |_| None,
    );
    assert_eq!(chain.links().len(), 1);
    assert!(chain.links()[0].subshell);
}

#[test]
fn a_shell_that_runs_a_script_on_a_terminal_is_no_login_shell() {
    let follow = |cmdline: &'static [u8]| {
        let stat = |pid| {
            (pid == 10).then(|| "10 (bash) S 9 10 10 34816 10 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0".to_owned())
        };
        Chain::follow(10, stat, |_| Some(cmdline.to_vec())).links()[0].terminal_leader
    };
    assert!(follow(b"-bash\0"));
    assert!(follow(b"/bin/bash\0-i\0"));
    assert!(!follow(b"bash\0/opt/backup.sh\0"));
    assert!(!follow(b"bash\0-c\0hume -m x\0"));
}

#[test]
fn hume_called_by_the_supervisor_itself_has_no_owner_among_processes() {
    let chain = chain(vec![link(50, "hume"), link(1, "systemd")]);
    assert_eq!((chain.job_root(), chain.owner(), chain.is_usable()), (None, None, false));
}

#[test]
fn text_of_a_shell_is_found_behind_options_that_take_a_word() {
    let of = |line: &str| {
        let line = line.replace(' ', "\0");
        match runs(operands(line.as_bytes()), &SHELL) {
            Runs::Text => "text".to_owned(),
            Runs::Script(script) => String::from_utf8_lossy(script).into_owned(),
            Runs::Nothing => "nothing".to_owned(),
        }
    };
    for (line, expected) in [
        ("bash -c hume", "text"),
        ("bash -eo pipefail -c hume", "text"),
        ("bash -ceu hume", "text"),
        ("sh -e -u -c hume", "text"),
        ("bash +o history -c hume", "text"),
        ("bash -eo pipefail job.sh", "job.sh"),
        ("bash -x job.sh -c", "job.sh"),
        ("bash -- -job.sh", "-job.sh"),
        ("bash --rcfile x", "nothing"),
        ("bash --norc job.sh", "job.sh"),
        ("bash -s one two", "nothing"),
        ("-bash", "nothing"),
        ("sh -", "nothing"),
    ] {
        assert_eq!(of(line), expected, "{line}");
    }
}

#[test]
fn a_zombie_or_another_process_of_the_same_number_is_not_alive() {
    let text = |state| format!("42 (x) {state} 7 42 42 0 42 0 1 2 3 4 5 6 7 8 20 0 1 0 99 1 2");
    let process = ProcessRef { pid: 42, start_ticks: 99 };
    assert!(is_alive(process, &text("S")));
    assert!(!is_alive(process, &text("Z")));
    assert!(!is_alive(ProcessRef { start_ticks: 98, ..process }, &text("S")));
}

#[test]
fn the_script_is_the_first_operand_of_an_interpreter() {
    assert_eq!(script_of(b"/bin/bash\0/opt/b.sh\0-x\0", None).as_deref(), Some("/opt/b.sh"));
    assert_eq!(script_of(b"bash\0./b.sh\0", Some("/srv")).as_deref(), Some("/srv/b.sh"));
    assert_eq!(script_of(b"python3\0-u\0job.py\0", Some("/srv/")).as_deref(), Some("/srv/job.py"));
    assert_eq!(script_of(b"sh\0-c\0hume -m x\0", Some("/srv")), None);
    assert_eq!(script_of(b"/usr/bin/rsync\0-a\0", None).as_deref(), Some("/usr/bin/rsync"));
    assert_eq!(script_of(b"", None), None);
    for (line, script) in [
        ("python3 -Wignore::DeprecationWarning x.py", Some("/srv/x.py")),
        ("python3 -W ignore x.py", Some("/srv/x.py")),
        ("python3.11 -m http.server", None),
        ("perl -e print", None),
        ("perl -I lib job.pl", Some("/srv/job.pl")),
        ("node --require dotenv job.js", Some("/srv/job.js")),
        ("node --eval 1", None),
        ("bash -eo pipefail -c make", None),
        ("rsync", Some("rsync")),
        ("/usr/bin/hume exec -t X -- ./job.sh", None),
    ] {
        let words = line.replace(' ', "\0");
        assert_eq!(script_of(words.as_bytes(), Some("/srv")).as_deref(), script, "{line}");
    }
}

#[test]
fn every_supervisor_ends_the_job_below_it() {
    for comm in [
        "cron",
        "crond",
        "CRON",
        "CROND",
        "atd",
        "anacron",
        "systemd",
        "init",
        "sshd",
        "sshd-session",
        "runit",
        "s6-svscan",
        "tini",
        "dumb-init",
        "supervisord",
    ] {
        let under = chain(vec![link(50, "hume"), link(40, "job.sh"), link(20, comm), link(1, "x")]);
        assert_eq!(under.job_root().map(|root| root.pid), Some(40), "{comm}");
        let below_more = chain(vec![
            link(50, "hume"),
            link(40, "job.sh"),
            link(30, "make"),
            link(20, comm),
            link(10, "python3"),
            link(1, "x"),
        ]);
        assert_eq!(below_more.job_root().map(|root| root.pid), Some(30), "{comm}");
    }
    for comm in ["job.sh", "cronie", "sshfs", "systemd-run"] {
        let under = chain(vec![link(50, "hume"), link(40, "job.sh"), link(20, comm), link(1, "x")]);
        assert_eq!(under.job_root().map(|root| root.pid), Some(20), "{comm} supervises nothing");
    }
    // Whatever a container starts first.
    let in_a_container = chain(vec![link(50, "hume"), link(40, "job.sh"), link(1, "app")]);
    assert_eq!(in_a_container.job_root().map(|root| root.pid), Some(40));
}

/// A stat as it is read: who, its parent, session, terminal and flags.
fn stat(pid: u32, comm: &str, parent: u32, session: u32, terminal: u32, flags: u64) -> String {
    format!("{pid} ({comm}) S {parent} {pid} {session} {terminal} {pid} {flags} 0 0 0 0 0 0 0 0 20 0 1 0 5 0")
}

#[test]
fn a_shell_supervises_only_as_session_leader_with_a_terminal() {
    const TERMINAL: u32 = 34816;
    for (comm, session, terminal, is_supervisor) in [
        ("bash", 20, TERMINAL, true),
        ("-zsh", 20, TERMINAL, true),
        ("ash", 20, TERMINAL, true),
        ("bash", 20, 0, false),
        ("bash", 7, TERMINAL, false),
        ("bash", 7, 0, false),
        ("tmux", 20, TERMINAL, false),
    ] {
        let read = |pid| match pid {
            50 => Some(stat(50, "hume", 40, session, terminal, 0)),
            40 => Some(stat(40, "job.sh", 20, session, terminal, 0)),
            20 => Some(stat(20, comm, 1, session, terminal, 0)),
            1 => Some(stat(1, "systemd", 0, 1, 0, 0)),
            _ => None,
        };
        let chain = Chain::follow(50, read, |_| Some(b"-bash\0".to_vec()));
        let expected = if is_supervisor { 40 } else { 20 };
        assert_eq!(chain.job_root().map(|root| root.pid), Some(expected), "{comm} {session} {terminal}");
    }
}

const EVERY_WRAPPER: [&str; 14] = [
    "timeout", "nice", "nohup", "setsid", "env", "sudo", "doas", "su", "runuser", "ionice", "chrt", "stdbuf",
    "xargs", "time",
];

#[test]
fn no_wrapper_owns_a_run() {
    let owner = |links| chain(links).owner().map(|owner| owner.pid);
    for comm in EVERY_WRAPPER {
        let within = vec![link(50, "hume"), link(45, comm), link(40, "backup.sh"), link(1, "init")];
        assert_eq!(owner(within), Some(40), "{comm}");
        let root = vec![link(50, "hume"), link(45, comm), link(20, "cron"), link(1, "init")];
        assert_eq!(owner(root), Some(45), "{comm} is all there is of the job");
    }
    let mut stacked = vec![link(50, "hume")];
    stacked.extend((60..).zip(EVERY_WRAPPER).map(|(pid, comm)| link(pid, comm)));
    stacked.extend([link(40, "backup.sh"), link(20, "cron"), link(1, "init")]);
    assert_eq!(owner(stacked), Some(40), "one behind the other");
    let other = vec![link(50, "hume"), link(45, "rsync"), link(40, "backup.sh"), link(1, "init")];
    assert_eq!(owner(other), Some(45), "a program that calls hume owns what it starts");
}

#[test]
fn a_script_of_a_megabyte_is_cut_to_what_an_event_may_hold() {
    // Fault 51: whoever owns a run may have any command line.
    let long = "x".repeat(1 << 20);
    for (words, cwd) in
        [(long.clone(), None), (format!("bash\0{long}\0"), Some("/srv")), ("é".repeat(1 << 20), None)]
    {
        let script = script_of(words.as_bytes(), cwd).unwrap();
        assert!(
            (SURROUNDINGS_BYTES_MAX - 1..=SURROUNDINGS_BYTES_MAX).contains(&script.len()),
            "{}",
            script.len()
        );
    }
}

#[test]
fn a_shell_that_runs_a_text_owns_nothing_unless_it_is_the_job_root() {
    let text = |pid| Link { shell_text: true, ..link(pid, "sh") };
    let owner = |links| chain(links).owner().map(|owner| owner.pid);
    let by_os_system =
        vec![link(50, "hume"), text(45), link(40, "job.py"), text(30), link(20, "cron"), link(1, "init")];
    assert_eq!(owner(by_os_system), Some(40));
    let by_make =
        vec![link(50, "hume"), text(46), text(45), link(40, "make"), link(20, "cron"), link(1, "init")];
    assert_eq!(owner(by_make), Some(40));
    let line_of_cron = vec![link(50, "hume"), text(45), text(30), link(20, "cron"), link(1, "init")];
    assert_eq!(owner(line_of_cron), Some(30));
}

#[test]
fn what_forked_and_never_ran_a_program_is_told_by_one_bit_among_others() {
    // 0x400000, as most processes have it, then with the bit, then with both bits beside it instead.
    for (flags, is_subshell) in
        [(0, false), (4_194_304, false), (4_194_368, true), (4_194_304 | 0x20 | 0x80, false)]
    {
        let read = |pid| (pid == 10).then(|| stat(10, "bash", 0, 9, 0, flags));
        let chain = Chain::follow(10, read, |_| None);
        assert_eq!(chain.links()[0].subshell, is_subshell, "{flags:#x}");
    }
}

#[test]
fn no_more_ancestors_are_followed_than_a_chain_may_hold() {
    let read = |pid| Some(stat(pid, "sh", pid + 1, 9, 0, 0));
    assert_eq!(Chain::follow(10, read, |_| None).links().len(), CHAIN_LINKS_MAX);
}
