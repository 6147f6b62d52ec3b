-- Keys of the people decisions are about; see governance/privacy/store.py.
CREATE TABLE subject (
  tag     bytea PRIMARY KEY,
  ref     bytea NOT NULL UNIQUE,
  wrapped bytea NOT NULL,
  made    bigint NOT NULL         -- microseconds UTC
);
