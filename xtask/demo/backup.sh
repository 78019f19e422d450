#!/bin/bash
# A nightly backup that copies nothing: it shows what else a script can say.
# The task and its tags stand in the environment, so no command repeats them.
export HUME_TASKNAME=BACKUP
export HUME_TAGS=backup,databases

hume -c counter-start -m "Starting the nightly backup"
hume -L info -x database=orders -x size_mib=1840 -m "orders is dumped"
hume --flag dumped -m "All databases are dumped, the upload begins"
hume -L warning -x database=customers -m "customers took 312 seconds, 40 is usual"
hume -c counter-stop --exit 0 -m "The backup is finished"
