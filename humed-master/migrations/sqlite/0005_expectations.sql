-- When hosts expect their tasks, by their own word. Names and no numbers: a word outlives the events that are forgotten.

CREATE TABLE expectation(
    host TEXT NOT NULL,
    task TEXT NOT NULL,
    text TEXT NOT NULL,                     -- as it was said; `never` takes back what was
    said_us INTEGER NOT NULL,
    PRIMARY KEY(host, task)
) STRICT, WITHOUT ROWID;
