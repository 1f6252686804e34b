-- How often an item was begun by a provider that never told how it ended.
ALTER TABLE dc_queue ADD COLUMN lost integer NOT NULL DEFAULT 0;
