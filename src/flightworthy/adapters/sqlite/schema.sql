-- Entries live in segments, some dozens of one group commit compressed together: small, and quick to read one of.
CREATE TABLE segment (
  first   INTEGER PRIMARY KEY,  -- sequence number of its first entry
  count   INTEGER NOT NULL,
  kinds   TEXT NOT NULL,        -- JSON: distinct kinds in it
  leaves  BLOB NOT NULL,        -- leaf hashes of the transparency log, 32 bytes each
  seal    BLOB NOT NULL,        -- over all of the row, see governance/segment.py
  body    BLOB NOT NULL         -- zstd of: index and contents, see governance/segment.py; last, so that the rest is read without it
) STRICT;
CREATE TABLE subtree (          -- the tree at levels 8, 16, ...; its level 0 are the leaves above
  level INTEGER NOT NULL,       -- 1, 2, ...
  place INTEGER NOT NULL,
  hash  BLOB NOT NULL,
  PRIMARY KEY (level, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoint (
  size   INTEGER PRIMARY KEY,
  number INTEGER NOT NULL UNIQUE,  -- from 1 without gaps
  note   BLOB NOT NULL,            -- the signed note
  seal   BLOB NOT NULL             -- over all of the row: also lines of witnesses that nobody here knows
) STRICT;
CREATE TABLE event (            -- decided or remembered: one entry each
  id  TEXT PRIMARY KEY,
  seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE newest (           -- of the outcomes of each event, of the acts of each name
  kind TEXT NOT NULL,
  key  TEXT NOT NULL,
  seq  INTEGER NOT NULL,
  PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE quarantine (
  id       INTEGER PRIMARY KEY,
  source   TEXT NOT NULL,
  position INTEGER NOT NULL,
  arrived  INTEGER NOT NULL,    -- microseconds UTC
  reason   TEXT NOT NULL,
  field    TEXT NOT NULL,
  message  TEXT NOT NULL,
  raw      BLOB NOT NULL,
  status   TEXT NOT NULL DEFAULT 'held',
  kind     INTEGER NOT NULL,    -- 0 event, 1 outcome, 2 event of the past
  tabular  INTEGER NOT NULL     -- 1: raw is a row of a table, written as JSON
) STRICT;
CREATE INDEX quarantine_by_status ON quarantine (status, id);
CREATE TABLE subject (          -- keys of the people decisions are about; see governance/privacy/store.py
  tag     BLOB PRIMARY KEY,
  ref     BLOB NOT NULL UNIQUE,
  wrapped BLOB NOT NULL,
  made    INTEGER NOT NULL      -- microseconds UTC
) STRICT, WITHOUT ROWID;
CREATE TABLE progress (
  source   TEXT PRIMARY KEY,
  position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE head (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  last INTEGER NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 0);
