-- Empty by now.
DROP TABLE event;
