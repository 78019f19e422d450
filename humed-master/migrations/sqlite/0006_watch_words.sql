-- What a watch is shown with. The words follow at the next start of the master.

ALTER TABLE watch ADD COLUMN task TEXT NOT NULL DEFAULT '';        -- that it is told under
ALTER TABLE watch ADD COLUMN schedule TEXT NOT NULL DEFAULT '';    -- its lines, with "; " between them
