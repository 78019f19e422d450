-- In which zone a course is read, and which hosts people were told of.

ALTER TABLE course ADD COLUMN zone TEXT;    -- null where the zone of the host changes nothing

-- Agents whose host was told as unreachable, and when.
CREATE TABLE reach(
    agent_no INTEGER PRIMARY KEY REFERENCES agent(no),
    told_us INTEGER NOT NULL
) STRICT;
