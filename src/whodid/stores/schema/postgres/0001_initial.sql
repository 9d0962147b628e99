-- The first schema. Names begin with whodid_ since the log may live in the application's database.
-- Times are microseconds since 1970 in UTC. Text that people choose is bytea: it may hold NUL, which
-- text can't, and is compared byte by byte whatever the database's encoding and collation are.

CREATE TABLE whodid_setting (
  name  text PRIMARY KEY,
  value bytea NOT NULL
);

CREATE TABLE whodid_counter (
  name  text PRIMARY KEY,
  value bigint NOT NULL
);

-- What applications write, and nothing else of them: what was claimed and when it came. The rest is
-- derived by the sealer. xid is the transaction that wrote the row, arrival its order within that.
CREATE TABLE whodid_event (
  received_at bigint NOT NULL,
  arrival     bigint GENERATED ALWAYS AS IDENTITY,
  xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
  id          uuid NOT NULL,
  tenant      bytea NOT NULL,
  codec       smallint NOT NULL DEFAULT 0,
  body        bytea,
  secret      bytea,
  gone        bytea
) PARTITION BY RANGE (received_at);
CREATE INDEX whodid_e_xid ON whodid_event (xid);
CREATE INDEX whodid_e_id ON whodid_event (id);

-- Uniqueness, which a partitioned table can't have across its partitions.
CREATE TABLE whodid_event_key (
  id          uuid NOT NULL,
  tenant      bytea NOT NULL,
  received_at bigint NOT NULL,
  PRIMARY KEY (id, tenant)
);

CREATE TABLE whodid_idempotency (
  tenant bytea NOT NULL,
  app    bytea NOT NULL,
  key    bytea NOT NULL,
  id     uuid NOT NULL,
  PRIMARY KEY (tenant, app, key)
);

-- One row, the sealer's state; who seals holds its lock.
CREATE TABLE whodid_seal (
  one      boolean PRIMARY KEY DEFAULT true CHECK (one),
  position bigint NOT NULL,       -- given last; never derived from max(position)
  snapshot pg_snapshot,           -- of the last seal: what it saw is sealed; NULL: nobody knows
  cluster  bigint                 -- whose transaction numbers these are
);
INSERT INTO whodid_seal (position) VALUES (0);

-- From here on everything is written by the sealer alone, under that lock.

CREATE TABLE whodid_dict (
  ref    bigint PRIMARY KEY,
  tenant bigint NOT NULL,         -- 0 for the tenants' own ids
  kind   smallint NOT NULL,
  val    bytea NOT NULL
);
CREATE UNIQUE INDEX whodid_d_val ON whodid_dict (tenant, kind, sha256(val));

CREATE TABLE whodid_log_state (
  tenant   bigint PRIMARY KEY,
  log_id   text NOT NULL,
  size     bigint NOT NULL,
  frontier bytea NOT NULL
);

CREATE TABLE whodid_leaf (
  tenant   bigint NOT NULL,
  "index"  bigint NOT NULL,
  position bigint NOT NULL UNIQUE,
  entry    bytea NOT NULL,
  PRIMARY KEY (tenant, "index")
);

-- The findable side of an event. Text values are numbers into whodid_dict; 0 is "none".
CREATE TABLE whodid_sealed (
  received_at bigint NOT NULL,
  arrival     bigint NOT NULL,
  position    bigint NOT NULL,
  tenant      bigint NOT NULL,
  "index"     bigint NOT NULL,
  occurred_at bigint NOT NULL,
  actor       bigint NOT NULL,
  action      bigint NOT NULL,
  app         bigint NOT NULL,
  country     bigint NOT NULL,
  agent       bigint NOT NULL,
  id          uuid NOT NULL,
  category    smallint NOT NULL,
  operation   smallint NOT NULL,
  severity    smallint NOT NULL,
  outcome     smallint NOT NULL,
  plain       boolean NOT NULL,   -- the body is ASCII
  ip          bytea
) PARTITION BY RANGE (received_at);
CREATE UNIQUE INDEX whodid_s_arrival ON whodid_sealed (arrival, received_at);
CREATE INDEX whodid_s_position ON whodid_sealed (position);
CREATE INDEX whodid_s_time ON whodid_sealed (occurred_at, position);
CREATE INDEX whodid_s_tenant ON whodid_sealed (tenant, occurred_at, position);
CREATE INDEX whodid_s_actor ON whodid_sealed (actor, occurred_at, position);
CREATE INDEX whodid_s_ip ON whodid_sealed (ip, occurred_at) WHERE ip IS NOT NULL;

-- A row per target, on_behalf_of and via that has an id; a hint, the body decides.
CREATE TABLE whodid_event_ref (
  received_at bigint NOT NULL,
  hash        bigint NOT NULL,
  position    bigint NOT NULL,
  kind        smallint NOT NULL
) PARTITION BY RANGE (received_at);
CREATE INDEX whodid_r_hash ON whodid_event_ref (hash, kind, position);

-- Rows of whodid_event that are no events, whoever wrote them; they have no leaf.
CREATE TABLE whodid_refused (
  arrival     bigint PRIMARY KEY,
  received_at bigint NOT NULL,
  refused_at  bigint NOT NULL,
  reason      text NOT NULL
);

CREATE TABLE whodid_api_key (
  id         text PRIMARY KEY,
  name       bytea NOT NULL,
  tenant     bytea NOT NULL,
  scopes     text NOT NULL,
  digest     bytea NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint
);
