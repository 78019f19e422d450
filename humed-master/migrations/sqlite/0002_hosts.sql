-- What an agent says of its host, and whether it stopped on purpose: what must be known to judge silence.

ALTER TABLE agent ADD COLUMN boot_id BLOB;             -- 16 bytes, if it told
ALTER TABLE agent ADD COLUMN zone TEXT;                -- IANA name, as it was told
ALTER TABLE agent ADD COLUMN tags TEXT NOT NULL DEFAULT '';    -- joined by commas, which no tag has
ALTER TABLE agent ADD COLUMN watermark_us INTEGER;     -- by its clock; lags behind its word by a minute at most
ALTER TABLE agent ADD COLUMN goodbye_us INTEGER;       -- null while a session goes on, and when one ended in another way
