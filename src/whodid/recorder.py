"""From what somebody recorded to what a store appends: drafted, checked, redacted, encoded.

`Recorder.draft` makes an event of a call's arguments and the context. What comes from data is
fitted: cut, turned into text, counted. What only a programmer decides (the action's name, the
outcome) is refused, at once. `prepare` redacts, fills and encodes; server ingest, importers, the
command line, the demo and every capture go through it, so that nothing reaches a store by another
way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from whodid import actions, context, redaction
from whodid import event as events
from whodid.canonical import Encoded, encode
from whodid.changes import Changes, changes_of
from whodid.context import Context
from whodid.describe import Describer, actor_of, target_of
from whodid.errors import BatchError, EventError, InvalidError
from whodid.event import (
    CATEGORIES,
    OPERATIONS,
    OUTCOMES,
    SEVERITIES,
    Actor,
    Change,
    Client,
    Delegation,
    ErrorDetail,
    Event,
    Principal,
    Reason,
    Request,
    Source,
    Target,
    Tenant,
    Trace,
    Window,
)
from whodid.ids import uuid7
from whodid.jsonable import cut, guarded_text, plain
from whodid.redaction import DEFAULT, Rules
from whodid.soundness import sound
from whodid.times import Instant

MAX_EVENT_BYTES = 65_536
MAX_BATCH_EVENTS = 1_000
_MAX_SHORT, _MAX_TEXT = 256, 4_096
_MAX_TARGETS, _MAX_TAGS, _MAX_METADATA = 50, 32, 100
_MOST_METADATA = 96  # of the caller's; the others say what was left out
_UNKNOWN = Actor(type="unknown")


def prepare(event: Event, *, rules: Rules = DEFAULT) -> Encoded:
    """Redact, fill and encode an event of an application's, which follows the schema.

    Raises:
        EventError: Its action begins with `audit.`, which only whodid writes, or it is too large.
    """
    _refuse_own(event)
    return _encoded(event, rules)


def prepare_draft(event: Event, *, rules: Rules = DEFAULT) -> Encoded:
    """The same for an event that was made in this process: checked, and made to fit.

    Raises:
        EventError: It breaks the schema.
    """
    _refuse_own(event)
    redacted = redaction.redact(sound(event), rules)
    encoded = encode(redacted, defaults=actions.defaults(event.action))
    if encoded.size_bytes <= MAX_EVENT_BYTES:
        return encoded
    return _encoded(events.checked(shrunk(redacted)), rules)


def _refuse_own(event: Event) -> None:
    if event.action.startswith("audit."):
        raise EventError("$.action", "actions beginning with audit. are written by whodid alone")


def prepare_activity(event: Event) -> Encoded:
    """The same for an event of the log's own, whose action begins with `audit.`."""
    if not event.action.startswith("audit."):
        raise AssertionError("prepare_activity is for the log's own actions")
    return _encoded(event, DEFAULT)


def prepare_batch(events: Iterable[Event]) -> list[Encoded]:
    """Prepare every event of a batch.

    Raises:
        BatchError: Names each event that can't be stored.
    """
    prepared: list[Encoded] = []
    errors: list[tuple[int, InvalidError]] = []
    for index, event in enumerate(events):
        try:
            prepared.append(prepare(event))
        except EventError as error:
            errors.append((index, error))
    if errors:
        raise BatchError(errors)
    return prepared


def _encoded(event: Event, rules: Rules) -> Encoded:
    encoded = encode(redaction.redact(event, rules), defaults=actions.defaults(event.action))
    if encoded.size_bytes > MAX_EVENT_BYTES:
        raise EventError(
            "$",
            f"the event has {encoded.size_bytes:,} bytes, at most {MAX_EVENT_BYTES:,} are stored",
        )
    return encoded


class Recorder:
    """Drafts events for one application. Safe for use from many threads."""

    def __init__(
        self,
        *,
        tenant: str,
        source: Source | None = None,
        describers: Sequence[Describer] = (),
    ) -> None:
        """Make a recorder.

        Args:
            tenant: Whose events these are where neither the call nor the context says.
            source: Which application this is.
            describers: Know the application's objects; asked in order.
        """
        self._tenant = Tenant(id=tenant)
        self._source = source or UNSET
        self._describers = describers

    def draft(
        self,
        action: str,
        *,
        actor: object = None,
        target: object = None,
        targets: Iterable[object] = (),
        outcome: str | None = None,
        reason: Reason | Mapping[str, str] | str | None = None,
        message: str | None = None,
        changes: Changes | None = None,
        metadata: Mapping[str, Any] | None = None,
        tenant: Tenant | str | None = None,
        on_behalf_of: object = None,
        delegation: Delegation | None = None,
        error: ErrorDetail | None = None,
        request: Request | None = None,
        client: Client | None = None,
        trace: Trace | None = None,
        source: Source | None = None,
        occurred_at: datetime | None = None,
        category: str | None = None,
        operation: str | None = None,
        severity: str | None = None,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
        tags: Iterable[str] = (),
        data_classes: Iterable[str] = (),
        count: int = 1,
        window: Window | None = None,
        id: str | None = None,  # noqa: A002 - the event's own word
    ) -> Event:
        """An event of these arguments, and of the context for all that they leave out.

        It has its id and `occurred_at`. Arguments are those of the schema; actor and targets may be
        the application's own objects, see `describe`. What is built of the schema's own parts is
        not looked at again here, but in `prepare_draft`.

        Args:
            action: `noun.verb`, e.g. `invoice.approve`; not beginning with `audit.`.
            target: The first of the targets.
            reason: A code such as `bad_password`, or code and message.
            changes: `{"status": ("draft", "sent")}`, or a list of Change.

        Raises:
            EventError: No such action, outcome, category, operation or severity can be.
            TypeError: An argument is of a form that nothing can be made of.
        """
        check_words(action, outcome, category, operation, severity)
        known = context.current()
        listed = [target, *targets] if target is not None else list(targets)
        kept = _targets(listed, self._describers)
        return Event(
            action=action,
            id=id or uuid7(),
            occurred_at=_moment(occurred_at),
            idempotency_key=idempotency_key or UNSET,
            category=category or UNSET,  # type: ignore[arg-type]  # checked above, as the next three
            operation=operation or UNSET,  # type: ignore[arg-type]
            severity=severity or UNSET,  # type: ignore[arg-type]
            outcome=outcome or UNSET,  # type: ignore[arg-type]
            reason=_reason(reason),
            message=cut(message, _MAX_TEXT) if message else UNSET,
            actor=self._actor(actor, known),
            on_behalf_of=self._behalf(on_behalf_of, known),
            via=known.via[:8],
            delegation=delegation or known.delegation or UNSET,
            targets=kept,
            changes=changes_of(changes) if changes else (),
            tenant=_tenant(tenant) or known.tenant or self._tenant,
            source=source or known.source or self._source,
            client=client or known.client or UNSET,
            request=request or known.request or UNSET,
            trace=trace or known.trace or UNSET,
            correlation_id=cut(correlation_id or known.correlation_id or "", _MAX_SHORT) or UNSET,
            error=error or UNSET,
            metadata=_metadata(known, metadata, left_out=len(listed) - len(kept)),
            tags=_tags((*known.tags, *tags)),
            data_classes=tuple(dict.fromkeys(cut(each, 32) for each in data_classes))[:16],
            count=count,
            window=window or UNSET,
        )

    def bound(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Loose values for `context.bind` as the parts of the schema that they stand for."""
        known = dict(fields)
        if known.get("actor") is not None:
            known["actor"] = self._actor(known["actor"], _NOTHING)
        if known.get("on_behalf_of") is not None:
            known["on_behalf_of"] = self._behalf(known["on_behalf_of"], _NOTHING)
        if isinstance(known.get("tenant"), str):
            known["tenant"] = _tenant(known["tenant"])
        return known

    def _actor(self, given: object, known: Context) -> Actor:
        if given is None:
            return known.actor or _UNKNOWN
        return _fitted(actor_of(given, self._describers))

    def _behalf(self, given: object, known: Context) -> Principal | UnsetType:
        if given is None:
            return known.on_behalf_of or UNSET
        if type(given) is Principal:
            return _fitted(given)
        found = _fitted(actor_of(given, self._describers))
        return Principal(type=found.type, id=found.id, name=found.name, email=found.email)


_NOTHING = Context()
_ACTION = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*){1,4}")


@lru_cache(maxsize=4096)
def check_words(
    action: str,
    outcome: str | None = None,
    category: str | None = None,
    operation: str | None = None,
    severity: str | None = None,
) -> None:
    """Return if an application's event may have this action and these words.

    Raises:
        EventError: It may not.
    """
    if not isinstance(action, str) or not _ACTION.fullmatch(action) or len(action) > 128:
        raise EventError(
            "$.action", "expected 2 to 5 lower-case words joined by dots, such as invoice.delete"
        )
    if action.startswith("audit."):
        raise EventError("$.action", "actions beginning with audit. are written by whodid alone")
    _check_word("outcome", outcome, OUTCOMES)
    _check_word("category", category, CATEGORIES)
    _check_word("operation", operation, OPERATIONS)
    _check_word("severity", severity, SEVERITIES)


def _check_word(name: str, value: str | None, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        raise EventError(f"$.{name}", f"expected one of {', '.join(allowed)}")


def _moment(given: datetime | None) -> Instant:
    if given is None:
        return Instant.now()
    try:
        return Instant.of(given)
    except (ValueError, OverflowError) as error:
        raise EventError("$.occurred_at", str(error)) from None


def _reason(given: Reason | Mapping[str, str] | str | None) -> Reason | UnsetType:
    if given is None or isinstance(given, Reason):
        return given or UNSET
    if isinstance(given, Mapping):
        fitted = dict(given)
        if "message" in fitted:
            fitted["message"] = cut(guarded_text(fitted["message"]), _MAX_TEXT)
        return Reason(**fitted)
    return Reason(code=given)


def _tenant(given: Tenant | str | None) -> Tenant | None:
    if isinstance(given, str):
        return Tenant(id=cut(given, _MAX_SHORT)) if given else None
    return given


def _targets(listed: Sequence[object], describers: Sequence[Describer]) -> tuple[Target, ...]:
    return tuple(_fitted(target_of(each, describers)) for each in listed[:_MAX_TARGETS])


_PartT = TypeVar("_PartT", bound=Struct)


def _fitted(part: _PartT) -> _PartT:
    """The same actor, principal or target with texts that fit."""
    changed: dict[str, Any] = {}
    for name in ("id", "name", "email"):
        text = getattr(part, name, UNSET)
        if text.__class__ is str:
            if len(text) > _MAX_SHORT:
                changed[name] = cut(text, _MAX_SHORT)
            elif not text and name != "id":
                changed[name] = UNSET
    return msgspec.structs.replace(part, **changed) if changed else part


_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TAG = re.compile(r"[a-z0-9][a-z0-9_:.-]{0,63}")


def _metadata(
    known: Context, given: Mapping[str, Any] | None, *, left_out: int
) -> dict[str, Any] | UnsetType:
    merged = {**known.metadata, **(given or {})}
    if not merged and not left_out:
        return UNSET
    written: dict[str, Any] = {}  # what was left out first, so that nothing takes its place
    if left_out:
        written["targets_left_out"] = left_out
    if len(merged) > _MOST_METADATA:
        written["metadata_left_out"] = len(merged) - _MOST_METADATA
    for key, value in islice(merged.items(), _MOST_METADATA):
        written[_key(key)] = plain(value)
    return written


def _key(given: object) -> str:
    name = guarded_text(given)
    if _KEY.fullmatch(name):
        return name
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".-")[:64] or "_"


def _tags(given: Iterable[str]) -> tuple[str, ...]:
    written = []
    for tag in given:
        fitted = tag if _TAG.fullmatch(tag) else re.sub(r"[^a-z0-9_:.-]", "_", tag.lower())[:64]
        written.append(fitted.lstrip("_:.-") or "tag")
    return tuple(dict.fromkeys(written))[:_MAX_TAGS]


# -- an event that is too large ------------------------------------------------------------------


def shrunk(event: Event) -> Event:
    """The same event, small enough to be stored: long values are cut, then changes are left out.

    Each cut change says so, and the metadata says how many were left out.
    """
    small = msgspec.structs.replace(
        event,
        changes=tuple(_shrunk_change(change) for change in event.changes),
        targets=tuple(_without_attributes(target) for target in event.targets),
        metadata=_shrunk_metadata(event, {}),
    )
    changes = small.changes
    while changes and _size(small) > MAX_EVENT_BYTES * 3 // 4:
        changes = changes[: len(changes) // 2]
        marks = {"changes_left_out": len(event.changes) - len(changes)}
        small = msgspec.structs.replace(
            small, changes=changes, metadata=_shrunk_metadata(event, marks)
        )
    return small


def _size(event: Event) -> int:
    return len(msgspec.json.encode(event, enc_hook=events.write_hook))


def _shrunk_change(change: Change) -> Change:
    sides = {
        side: _brief(value)
        for side in ("old", "new")
        if (value := getattr(change, side)) is not UNSET and _brief(value) != value
    }
    if not sides:
        return change
    mark = {} if change.redacted is not UNSET else {"redacted": "truncated"}
    return msgspec.structs.replace(change, **sides, **mark)


def _brief(value: Any) -> Any:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return cut(text, _MAX_SHORT) if len(text) > _MAX_SHORT else value


def _without_attributes(target: Target) -> Target:
    return msgspec.structs.replace(target, attributes=UNSET)


def _shrunk_metadata(event: Event, marks: Mapping[str, int]) -> dict[str, Any] | UnsetType:
    given = islice((event.metadata or {}).items(), _MAX_METADATA - 2)
    return {**{key: _brief(value) for key, value in given}, "shrunk": True, **marks}
