-- Events that the log let go before they were told, and how many of them the peer does not know of yet.
ALTER TABLE transfer ADD COLUMN missed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE transfer ADD COLUMN missed_untold INTEGER NOT NULL DEFAULT 0;
