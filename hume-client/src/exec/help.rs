//! What `hume exec -h` and `hume exec --help` say around the list of options.
//!
//! Lines hold at most 100 columns; nothing here is wrapped by the terminal's width.

/// One line on what it is for.
pub(super) const ABOUT: &str = "Run a command, and tell the agent when it begins and how it ends.";

/// First part of the long help.
pub(super) const EXAMPLES: &str = r"Examples:
  A line of a crontab, with nothing in the mail unless it fails:

    0 3 * * *  hume exec --chronic -t BACKUP -T nightly -- /usr/local/bin/backup.sh

  A job that must not hang, and not run twice at a time:

    hume exec -t SYNC --timeout 1h30m --overlap forbid -- rsync -a /srv/ backup:/srv/

  More than one command needs a shell; `hume` inside joins the run without any option:

    hume exec -t RENEW -- sh -c 'certbot renew -q && hume --flag renewed; systemctl reload nginx'

  The end of the output goes with the stop event, here also when all is well:

    hume exec -t DISKS --tail 2000 -- smartctl -H /dev/sda

  The answer to all of it:

    humequery -t BACKUP --latest";

/// Last part of the short help.
pub(super) const AFTER_SHORT: &str = "\
Exits with the command's own code. `hume exec --help` has examples, exit codes and environment.";

/// Last part of the long help.
pub(super) const AFTER_LONG: &str = "\
What is told:
  A start event (counter-start) before the command begins, with its command line as the text; -m
  puts another text in its place, for a command line that nobody else should read; -x and -a go with
  it. A stop event (counter-stop) when it has ended: exit code or signal, wall_ms, user_ms,
  system_ms, max_rss_kib, output_bytes, and when it failed the end of its output, standard output
  and error together in the order in which they came. Where both go to one place anyway, as in a
  crontab or with 2>&1, the order is exact. After --timeout the stop has the level error and
  timed_out=true.

Reporting changes nothing:
  Without --overlap, and with --overlap forbid, the agent is asked first, because it may answer that
  the task runs already and must not run twice. It answers in about a millisecond; an agent that is
  away, full or slower than --recv-timeout (which is for each event) is not waited for: the command
  begins. With --overlap warn or allow no answer is waited for at all. What the agent did not take
  goes to the drop folder while the command runs. No trouble of this kind changes the exit code.

The command:
  It has our standard input, our environment and our process group, and the same signals as we had.
  Output is passed on byte by byte as it comes; a stream that is a terminal is left to the command
  untouched, unless --chronic. Where our own output is a pipe that nobody reads any more, the
  command's next write fails, as it would without hume.
  SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT and SIGWINCH that are sent to us go on
  to the command; what a terminal sends to the whole group, such as Ctrl-C, it has already. A
  systemd unit should say KillMode=mixed, or the command gets SIGTERM twice.
  We end when the command ends, even while children that it left behind hold its output: a process
  of ours stays for as long as they do and passes on what they write.
  In `ps -o comm` this process is `hume-exec`: the run lasts as long as it does, and when it is
  killed the agent ends the run as aborted.

Exit codes:
  N      the command's own
  128+N  signal N ended the command; also after --timeout: 143 for SIGTERM, 137 for SIGKILL
  127    there is no such command; 126 it cannot be executed. Both events are sent all the same
  64     wrong options, no task or no command; nothing was run
  75     the task runs already, and it must not run twice; nothing was run

Environment:
  HUME_TASKNAME, HTASK  task, when there is no -t; the first that is not empty
  HUME_TAGS, HTAGS      tags, added to those of -T
  HUME_SOCKET, HUME_DROP_DIR, HUME_RECVTIMEOUT, HUME_TOKEN
                        as for `hume`
  Set for the command:
  HUME_RUN_ID           the key of the run: `hume` calls inside join it
  HUME_RUN_TASK         its task: calls for another task do not use the key
  HUME_RUN_HOST         with --hostname: the host of the run
  HUME_TASKNAME         the task, unless it was set; HUME_TAGS the tags, unless they were set
  HUME_SOCKET           with --socket: the same";
