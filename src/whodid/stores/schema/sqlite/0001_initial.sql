-- The first schema. Names begin with whodid_ since the log may live in the application's own file.
-- Times are microseconds since 1970 in UTC. Text values are numbers into whodid_dict; 0 is "none".

CREATE TABLE whodid_setting (
  name  TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The last position given; never derived from max(position), which forgets what retention took.
CREATE TABLE whodid_counter (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO whodid_counter(name, value) VALUES ('position', 0);

CREATE TABLE whodid_dict (
  ref    INTEGER PRIMARY KEY,
  tenant INTEGER NOT NULL,   -- 0 for the tenants' own ids
  kind   INTEGER NOT NULL,
  val    TEXT NOT NULL,
  UNIQUE (tenant, kind, val)
) STRICT;

CREATE TABLE whodid_log_state (
  tenant   INTEGER PRIMARY KEY,
  log_id   TEXT NOT NULL,
  size     INTEGER NOT NULL,
  frontier BLOB NOT NULL
) STRICT;

CREATE TABLE whodid_leaf (
  tenant   INTEGER NOT NULL,
  "index"  INTEGER NOT NULL,
  entry    BLOB NOT NULL,
  position INTEGER NOT NULL UNIQUE,
  PRIMARY KEY (tenant, "index")
) STRICT, WITHOUT ROWID;

CREATE TABLE whodid_event (
  position    INTEGER PRIMARY KEY,
  tenant      INTEGER NOT NULL,
  "index"     INTEGER NOT NULL,
  id          BLOB NOT NULL,
  occurred_at INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  actor       INTEGER NOT NULL,
  action      INTEGER NOT NULL,
  category    INTEGER NOT NULL,
  operation   INTEGER NOT NULL,
  severity    INTEGER NOT NULL,
  outcome     INTEGER NOT NULL,
  app         INTEGER NOT NULL,
  country     INTEGER NOT NULL,
  agent       INTEGER NOT NULL,
  ip          BLOB,
  codec       INTEGER NOT NULL,
  body        BLOB,
  secret      BLOB,
  gone        BLOB,
  UNIQUE (tenant, id)
) STRICT;

-- A row per target, actor, on_behalf_of and via that has an id; a hint, the body decides.
CREATE TABLE whodid_event_ref (
  kind        INTEGER NOT NULL,
  hash        INTEGER NOT NULL,
  occurred_at INTEGER NOT NULL,
  position    INTEGER NOT NULL,
  PRIMARY KEY (kind, hash, occurred_at, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE whodid_idempotency (
  tenant INTEGER NOT NULL,
  app    INTEGER NOT NULL,
  key    TEXT NOT NULL,
  id     BLOB NOT NULL,
  PRIMARY KEY (tenant, app, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE whodid_api_key (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  tenant     TEXT NOT NULL,
  scopes     TEXT NOT NULL,
  digest     BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER
) STRICT, WITHOUT ROWID;

-- These two cover what facets and histograms count, so that they read no bodies.
CREATE INDEX whodid_e_facet ON whodid_event
  (occurred_at, tenant, action, outcome, actor, severity, app, country, ip);
CREATE INDEX whodid_e_tenant ON whodid_event
  (tenant, occurred_at, action, outcome, actor, severity, app, country, ip);
CREATE INDEX whodid_e_actor ON whodid_event (actor, occurred_at);
CREATE INDEX whodid_e_ip ON whodid_event (ip, occurred_at) WHERE ip IS NOT NULL;
CREATE INDEX whodid_e_fail ON whodid_event (action, occurred_at) WHERE outcome <> 0;
