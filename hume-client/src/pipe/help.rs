//! What `hume pipe -h` and `hume pipe --help` say around the list of options.
//!
//! Lines hold at most 100 columns; nothing here is wrapped by the terminal's width.

/// One line on what it is for.
pub(super) const ABOUT: &str = "Tell the agent every line of stdin, as an event of its own.";

/// First part of the long help.
pub(super) const EXAMPLES: &str = r"Examples:
  What a program says, with the level it says it has, and still in the log of the job:

    backup.sh 2>&1 | hume pipe -t BACKUP --level-from prefix --tee >>/var/log/backup.log

  Only what it complains about:

    rsync -a /srv/ backup:/srv/ 2> >(hume pipe -t SYNC -L error)

  A program that logs JSON:

    node sync.js | hume pipe -t SYNC --level-from json:level
    journalctl -o json -fu nginx | hume pipe -t NGINX --level-from json:PRIORITY,message:MESSAGE

  Inside `hume exec` the lines are of its run, without any option:

    hume exec -t BACKUP -- bash -o pipefail -c 'backup.sh 2>&1 | hume pipe --level-from prefix'";

/// Last part of the short help.
pub(super) const AFTER_SHORT: &str = "\
Exits with 0 so that scripts go on, unless --strict. `hume pipe --help` has examples and exit codes.";

/// Last part of the long help.
pub(super) const AFTER_LONG: &str = "\
Lines:
  Lines of nothing but white space are skipped; the last line needs no end. What does not fit is cut
  or escaped as `hume` does, and flagged `mangled`. No run is opened or closed by this: the lines
  belong to the run of the task that is found by the calling processes or by the key, as with
  `hume`.

On the way:
  With --tee everything is passed on before it is reported. Up to 256 lines are on their way to the
  agent over one connection. When the connection is lost, what was not answered is sent once more
  over another one; the agent knows a line again, and keeps it once. An agent that does not answer
  within --recv-timeout is left alone for 20 times as long. In the meantime, and while there is no
  agent, the lines go to the drop folder. A reader of ours that is gone ends us, so that the writer
  notices.

Exit codes:
  0      the lines are stored by the agent or in the drop folder. Also when some could not be
         stored: one line on stderr then names the first cause, one the number; unless --strict
  64     wrong options; nothing was read
  65     with --strict: a line was refused as invalid, or it was stored but had to be mangled
  69     with --strict: no agent, and no drop folder either
  75     with --strict: the agent is full or busy, and there is no drop folder either
  77     with --strict: not permitted. Of several codes the highest
  128+N  signal N (HUP, INT, TERM) ended it; what had been read is reported

Environment:
  As for `hume`: HUME_TASKNAME, HTASK, HUME_TAGS, HTAGS, HUME_RUN_ID, HUME_SOCKET, HUME_DROP_DIR,
  HUME_RECVTIMEOUT, HUME_TOKEN, HUME_STRICT.";
