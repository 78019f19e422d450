-- The latest runs of one host, and how many tasks a host has: both were looked for among all of `latest`.
CREATE INDEX latest_host ON latest(host_no, task_no);
