"""The canonical form computed a second time, from `docs/spec/format.md` and the standard library.

It shares no code with whodid, so that a mistake has to be made twice to go unseen. It writes the
vectors: `python -m tests.format_reference` computes what is missing or wrong in
`tests/vectors/format.json` from what goes in. It knows nothing of the schema's limits.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent / "vectors" / "format.json"

CORE = set(
    "action category control control_signature count data_classes occurred_at operation outcome "
    "schema severity source trace window".split()
)
NO_UNIT = {"id", "tenant", "idempotency_key"}
# Below these keys nothing is touched: whatever JSON the application has.
OPAQUE = {"metadata", "attributes", "old", "new"}
TIMES = {"occurred_at", "expires_at", "start", "end"}
SHORT_ESCAPES = {
    '"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r",
}  # fmt: skip


def json_text(value: Any) -> str:
    """JSON bytes of the spec, as text."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return '"' + "".join(json_character(c) for c in value) + '"'
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, list):
        return "[" + ",".join(json_text(item) for item in value) + "]"
    members = sorted(value.items(), key=lambda member: member[0].encode())
    return "{" + ",".join(json_text(key) + ":" + json_text(item) for key, item in members) + "}"


def json_character(c: str) -> str:
    if c in SHORT_ESCAPES:
        return SHORT_ESCAPES[c]
    return f"\\u{ord(c):04x}" if c < " " else c


def float_text(value: float) -> str:
    if value == 0:
        return str(value)
    # `repr` gives the fewest digits; Decimal takes them apart.
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    point = len(text) + exponent  # digits before the point
    if 1e-5 <= abs(value) < 1e16:
        if point <= 0:
            text = "0." + "0" * -point + text
        elif point >= len(text):
            text = text + "0" * (point - len(text)) + ".0"
        else:
            text = text[:point] + "." + text[point:]
    else:
        text = text[0] + ("." + text[1:] if text[1:] else "") + f"e{point - 1}"
    return ("-" if sign else "") + text


def time_text(text: str) -> str:
    """Any RFC 3339 time in the one form."""
    found = re.fullmatch(
        r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))",
        text,
    )
    if found is None:
        raise ValueError("no RFC 3339 time")
    *parts, fraction, sign, hours, minutes = found.groups()
    micros = int(((fraction or "") + "000000")[:6])
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    local = datetime(*map(int, parts), micros, tzinfo=UTC)  # type: ignore[arg-type, misc] # 6 parts
    utc = local + offset if sign == "-" else local - offset
    day = f"{utc.year:04}-{utc.month:02}-{utc.day:02}"
    return f"{day}T{utc.hour:02}:{utc.minute:02}:{utc.second:02}.{utc.microsecond:06}Z"


def tidy(value: Any, key: str = "") -> Any:
    """Times in the one form; None in place of what counts as absent."""
    if key in OPAQUE:
        return value if value != {} or key in ("old", "new") else None
    if key in TIMES:
        return time_text(value)
    if isinstance(value, list):
        return [tidy(item) for item in value] or None
    if isinstance(value, dict):
        kept: dict[str, Any] = {}
        for name, item in value.items():
            tidied = tidy(item, name)
            if tidied is None and name not in ("old", "new"):
                continue
            if name == "target" and item == 0:
                continue
            kept[name] = tidied
        return kept or None
    return value


def core_and_units(text: str, defaults: dict[str, str]) -> tuple[str, dict[str, str]]:
    event = tidy(json.loads(text))
    if event.get("count") == 1:
        del event["count"]
    core = {"schema": 1, "outcome": "success", **defaults}
    core |= {key: value for key, value in event.items() if key in CORE}
    units: dict[str, str] = {}
    for key, value in event.items():
        if key in ("targets", "changes"):
            units |= {f"/{key}/{number}": json_text(item) for number, item in enumerate(value)}
        elif key not in CORE and key not in NO_UNIT:
            units["/" + key] = json_text(value)
    if "name" in event.get("tenant", {}):
        units["/tenant"] = json_text({"name": event["tenant"]["name"]})
    return json_text(core), {path: units[path] for path in sorted(units, key=str.encode)}


def stamp_text(stamp: dict[str, str]) -> str:
    return json_text({**stamp, "received_at": time_text(stamp["received_at"])})


def body_text(core: str, stamp: str, units: dict[str, str]) -> str:
    listed = ",".join(json_text(path) + ":" + value for path, value in units.items())
    return f'{{"core":{core},"stamp":{stamp},"units":{{{listed}}}}}'


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def salt(seed: bytes, path: str) -> bytes:
    return sha256(b"whodid.salt.v1\n", seed, path.encode())[:16]


def digest(path: str, value: str, unit_salt: bytes) -> bytes:
    name = path.encode()
    return sha256(
        b"whodid.field.v1\n", unit_salt, len(name).to_bytes(2, "big"), name, value.encode()
    )


def entry(core: str, stamp: str, digests: dict[str, bytes], nonce: bytes) -> bytes:
    parts = [b"whodid.entry.v1\n", nonce]
    for text in (core, stamp):
        parts += [len(text.encode()).to_bytes(4, "big"), text.encode()]
    parts.append(len(digests).to_bytes(2, "big"))
    for path in sorted(digests, key=str.encode):
        parts += [len(path.encode()).to_bytes(2, "big"), path.encode(), digests[path]]
    return sha256(*parts)


def computed(vector: dict[str, Any]) -> dict[str, Any]:
    """The vector with everything that comes out of what goes in."""
    seed = bytes.fromhex(vector["seed"])
    core, units = core_and_units(vector["event"], vector["defaults"])
    stamp = stamp_text(vector["stamp"])
    digests = {path: digest(path, value, salt(seed, path)) for path, value in units.items()}
    root = entry(core, stamp, digests, salt(seed, ""))
    result = {key: vector[key] for key in ("name", "event", "defaults", "stamp", "seed")} | {
        "core": core,
        "stamp_bytes": stamp,
        "units": units,
        "body": body_text(core, stamp, units),
        "entry": root.hex(),
        "leaf": sha256(b"\0", root).hex(),
    }
    if "erase" in vector:
        left = {path: value for path, value in units.items() if path not in vector["erase"]}
        gone = {path: digests[path].hex() for path in units if path not in left}
        secret = b"".join(salt(seed, path) for path in ["", *left])
        result["erase"] = vector["erase"]
        result["erased"] = {
            "body": body_text(core, stamp, left),
            "gone": json_text(gone),
            "secret": secret.hex(),
        }
    return result


def main() -> None:
    document = json.loads(VECTORS.read_text())
    document["vectors"] = [computed(vector) for vector in document["vectors"]]
    VECTORS.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
