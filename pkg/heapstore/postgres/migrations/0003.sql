-- What a heap's commits count, and of every key the version, the time and the call id of its last write. Keys of before have
-- version 1, and neither time nor call id. A provider of the schema before that is being replaced leaves all three as they were.
ALTER TABLE dc_heaps ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE dc_entries ADD COLUMN version bigint NOT NULL DEFAULT 1, ADD COLUMN at timestamptz, ADD COLUMN call bytea;
