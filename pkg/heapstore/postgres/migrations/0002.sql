-- What is recorded of invocations that have taken effect. The key is what keeps a call id from taking effect twice.
CREATE TABLE dc_calls (
	heap   bigint NOT NULL,
	id     bytea NOT NULL,
	at     timestamptz NOT NULL DEFAULT now(),
	record bytea NOT NULL,
	PRIMARY KEY (heap, id)
);
CREATE INDEX dc_calls_at ON dc_calls (at);
