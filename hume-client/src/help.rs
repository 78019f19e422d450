//! What `hume -h` and `hume --help` say around the list of options: examples first, then codes, environment and files.
//!
//! Lines hold at most 100 columns; nothing here is wrapped by the terminal's width.

/// One line on what it is for.
pub(crate) const ABOUT: &str = "Tell the agent of this host what a script does.";

/// Heading of the options about the event.
pub(crate) const WHAT: &str = "What to report";

/// Heading of the options about the way.
pub(crate) const HOW: &str = "How to report it";

/// Order of the parts.
pub(crate) const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}

{before-help}{all-args}{after-help}";

/// First part of the long help.
pub(crate) const EXAMPLES: &str = r#"Examples:
  A script that updates WordPress tells when it starts, what goes wrong and when it is done:

    HTASK="WORDPRESS_UPDATE"
    HTAGS="wordpress,cron,updates"

    hume -c counter-start -t "$HTASK" -T "$HTAGS" -m "Starting wordpress update cron process"
    cd $dir || hume -t "$HTASK" -T "$HTAGS" -L error -m "$dir does not exist"
    $wpcli core update || hume -t "$HTASK" -T "$HTAGS" -L error -m "Core update error in $dir"
    hume -c counter-stop -t "$HTASK" -T "$HTAGS" -m "Finished wordpress update cron task"

  With the task and the tags in the environment, the lines become short:

    export HTASK=BACKUP HTAGS=cron,night
    hume -c counter-start
    pg_dumpall >/srv/dump.sql && hume --flag database-dumped || hume -L error "The dump failed"
    rsync -a /srv /backup
    hume -c counter-stop --exit $?

  The output of a command as the message, a fact beside it, and the line of the script:

    df -h /srv | hume -t DISK -L warning -x mount=/srv -m -
    export LINENO; hume -t DISK -L error "Cannot mount /srv"

  A command between its two events, and every line of a program as an event (see their --help):

    hume exec -t BACKUP --timeout 2h -- backup.sh
    backup.sh 2>&1 | hume pipe -t BACKUP --level-from prefix

  The answer to all of it:

    humequery -t WORDPRESS_UPDATE --latest --hostname=webserver"#;

/// Last part of the short help.
pub(crate) const AFTER_SHORT: &str = "\
`hume exec` runs a command between two events, `hume pipe` reports lines, `hume watch` says when a
task is expected; each has a help of its own.
Exits with 0 so that scripts go on, unless --strict. `hume --help` has examples, exit codes and environment.";

/// Last part of the long help.
pub(crate) const AFTER_LONG: &str = "\
Values:
  No value stops a script. What does not fit is cut, escaped or set aside under a name such as
  hume.level, the event is flagged `mangled`, and it is stored all the same. A message holds 16 KiB,
  a task 200 bytes, a tag 64; an event holds 32 tags and 64 extras of 32 KiB in all.

When the agent is away:
  The event goes to the drop folder, from which the agent takes it later, once. So it does when the
  agent does not answer in time, is busy, or has no room. What it refuses is not put there.

Exit codes:
  0   the agent stored the event, or it is in the drop folder. Also when nothing could be stored:
      one line on stderr then names the cause, and the script goes on, unless --strict
  64  unknown or contradictory options; nothing was stored
  65  with --strict: the event was refused as invalid, or it was stored but had to be mangled
  69  with --strict: no agent, and no drop folder either
  75  with --strict: the agent is full or busy, and there is no drop folder either
  77  with --strict: not permitted

Environment:
  HUME_TASKNAME, HTASK  task, when there is no -t; the first that is not empty
  HUME_TAGS, HTAGS      tags, added to those of -T
  HUME_RUN_ID           key of the run, when there is no --run-id; not used for another task than
                        the one in HUME_RUN_TASK. `hume exec` exports both, and HUME_RUN_HOST when
                        the run is on another host than this one
  HUME_SOCKET           socket, when there is no --socket
  HUME_DROP_DIR         drop folder; /var/spool/hume/drop when not set
  HUME_RECVTIMEOUT      longest wait in milliseconds, when there is no --recv-timeout; at most 600000
  HUME_TOKEN            token, when there is no --auth-token
  HUME_STRICT           as --strict, unless it is empty or 0
  LINENO                line of the script; bash sets it, `export LINENO` hands it on
  INVOCATION_ID         set by systemd; helps to find the run

Files:
  /run/hume/hume.sock   the agent's socket
  /var/spool/hume/drop  the drop folder
  hume reads no configuration.";
