-- Entries live in segments, some dozens of one group commit compressed together, in a partition for each month (UTC) in which
-- they were written.
CREATE TABLE segment (
  first   bigint NOT NULL,        -- sequence number of its first entry
  count   integer NOT NULL,
  kinds   text NOT NULL,          -- JSON: distinct kinds in it
  leaves  bytea NOT NULL,         -- leaf hashes of the transparency log, 32 bytes each
  seal    bytea NOT NULL,         -- over first, count, kinds, leaves, body; see governance/segment.py
  body    bytea NOT NULL,         -- zstd of: index and contents
  written timestamptz NOT NULL,
  PRIMARY KEY (first, written)
) PARTITION BY RANGE (written);
ALTER TABLE segment ALTER COLUMN leaves SET STORAGE EXTERNAL, ALTER COLUMN body SET STORAGE EXTERNAL;  -- nothing left to compress
CREATE TABLE subtree (            -- the tree at levels 8, 16, ...; its level 0 are the leaves above
  level integer NOT NULL,
  place bigint NOT NULL,
  hash  bytea NOT NULL,
  PRIMARY KEY (level, place)
);
CREATE TABLE checkpoint (
  size   bigint PRIMARY KEY,
  number bigint NOT NULL UNIQUE,  -- from 1 without gaps
  note   bytea NOT NULL,          -- the signed note
  seal   bytea NOT NULL
);
CREATE TABLE event (              -- decided or remembered: one entry each
  id  bytea PRIMARY KEY,          -- UTF-8; bytes, because an id may hold what a text may not
  seq bigint NOT NULL
);
CREATE TABLE newest (             -- of the outcomes of each event, of the acts of each name
  kind text NOT NULL,
  key  bytea NOT NULL,
  seq  bigint NOT NULL,
  PRIMARY KEY (kind, key)
);
CREATE TABLE quarantine (
  id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  block    bytea NOT NULL,        -- the commit it came with, and its place there: sent twice, it is kept once
  place    integer NOT NULL,
  source   text NOT NULL,
  position bigint NOT NULL,
  arrived  bigint NOT NULL,       -- microseconds UTC
  reason   text NOT NULL,
  field    bytea NOT NULL,
  message  bytea NOT NULL,
  raw      bytea NOT NULL,
  status   text NOT NULL DEFAULT 'held',
  kind     integer NOT NULL,      -- 0 event, 1 outcome, 2 event of the past
  tabular  boolean NOT NULL,      -- raw is a row of a table, written as JSON
  UNIQUE (block, place)
);
CREATE INDEX quarantine_by_status ON quarantine (status, id);
CREATE TABLE progress (
  source   text PRIMARY KEY,
  position bigint NOT NULL
);
CREATE TABLE head (
  one  boolean PRIMARY KEY DEFAULT true CHECK (one),
  last bigint NOT NULL
);
INSERT INTO head (last) VALUES (0);
