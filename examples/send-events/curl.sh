#!/bin/sh
# Send events with curl: one, then a batch. Run it again: nothing is added.
#
#   WHODID_URL=http://127.0.0.1:8787 WHODID_KEY=whodid_… sh curl.sh
#
# Needs curl 7.82 or newer.
set -eu

# The key goes to curl in a file, since other users of the machine see arguments.
settings=
if [ -n "${WHODID_KEY:-}" ]; then
  settings="header = \"Authorization: Bearer $WHODID_KEY\""
fi

# Sends what comes on stdin and prints the receipts. On 408, 429 and 5xx, and while nobody listens,
# curl waits, for as long as Retry-After says, and sends the same again.
send() {
  curl --silent --show-error --fail-with-body --max-time 30 \
    --retry 5 --retry-connrefused \
    --config /dev/fd/3 --json @- "${WHODID_URL:-http://127.0.0.1:8787}/v1/events" 3<<END
$settings
END
  echo
}

# One event. The idempotency key is the application's own name for what happened: the same again
# is stored once.
send <<'END'
{
  "idempotency_key": "login-81f3",
  "occurred_at": "2026-03-15T11:00:00Z",
  "action": "user.login",
  "actor": {"type": "user", "id": "7", "name": "Bob"},
  "client": {"ip": "203.0.113.7"}
}
END

# A batch: all of it is stored or nothing.
send <<'END'
{"events": [
  {
    "idempotency_key": "grant-4c02",
    "occurred_at": "2026-03-15T11:02:30Z",
    "action": "user.role.grant",
    "actor": {"type": "user", "id": "7", "name": "Bob"},
    "targets": [{"type": "user", "id": "9", "name": "Ana"}],
    "changes": [{"path": "role", "old": "viewer", "new": "admin"}]
  },
  {
    "idempotency_key": "invoice-2026-0042-deleted",
    "occurred_at": "2026-03-15T11:04:10Z",
    "action": "invoice.delete",
    "actor": {"type": "user", "id": "9", "name": "Ana"},
    "targets": [{"type": "invoice", "id": "2026-0042"}]
  }
]}
END
