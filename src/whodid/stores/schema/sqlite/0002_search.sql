-- Full text. Written by the indexer after the events; its watermarks are the counters
-- indexed.text (a position) and indexed.values (a ref). What lies beyond them is scanned.
-- The words are ours (query/words.py): lower case, never with an underscore, which marks tokens
-- that are no words. The tokenizer must leave both alone, so it knows ASCII only.

CREATE VIRTUAL TABLE whodid_text USING fts5(
  words, content='', columnsize=0, detail=none, tokenize="ascii tokenchars '_'"
);

-- The same for values in whodid_dict of the kinds that have many; the rowid is the ref.
CREATE VIRTUAL TABLE whodid_value_text USING fts5(
  words, content='', columnsize=0, detail=none, tokenize="ascii tokenchars '_'"
);

-- When the indexed events of 1,024 positions happened: so that the newest hits are looked for
-- where they can be. It only ever widens.
CREATE TABLE whodid_span (
  block  INTEGER PRIMARY KEY,   -- position / 1024
  oldest INTEGER NOT NULL,
  newest INTEGER NOT NULL
) STRICT;

-- Columns for counting: the events again, as blocks of numbers in the order of their positions.
-- Everything here is derived; verification computes it anew and compares.

-- A block covers the positions from first to last. Blocks follow one another without a gap up to
-- the counter indexed.columns. One that is rewritten gets another revision.
CREATE TABLE whodid_column_block (
  first    INTEGER PRIMARY KEY,
  last     INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  events   INTEGER NOT NULL,   -- positions that have one
  oldest   INTEGER NOT NULL,
  newest   INTEGER NOT NULL
) STRICT;

-- A row a column: to reach a later one of a row, SQLite would walk over the pages of all before it.
CREATE TABLE whodid_column (
  first INTEGER NOT NULL,
  name  TEXT NOT NULL,
  data  BLOB NOT NULL,
  PRIMARY KEY (first, name)
) STRICT;

-- The values of facets, as searches tell them apart: in one case, and an actor under one id.
CREATE TABLE whodid_column_code (
  code INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL,
  name TEXT NOT NULL,
  ip   BLOB,
  UNIQUE (kind, name)
) STRICT;
CREATE INDEX whodid_column_ip ON whodid_column_code (ip) WHERE ip IS NOT NULL;

-- Which code each number of whodid_dict has, 4 bytes each from first on.
CREATE TABLE whodid_column_ref (
  first INTEGER PRIMARY KEY,
  codes BLOB NOT NULL
) STRICT;

-- Facets and histograms are counted in the columns, and events by who, from where and with what
-- result are found there. What is left for an index is order. Each of the others was a page of its
-- own to write for nearly every event: half of all that a large log wrote.
DROP INDEX whodid_e_facet;
DROP INDEX whodid_e_tenant;
DROP INDEX whodid_e_fail;
DROP INDEX whodid_e_actor;
DROP INDEX whodid_e_ip;
CREATE INDEX whodid_e_time ON whodid_event (occurred_at);
CREATE INDEX whodid_e_tenant ON whodid_event (tenant, occurred_at);
DELETE FROM whodid_event_ref WHERE kind = 2;   -- actors, which the dictionary finds
