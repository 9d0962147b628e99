"""How counted values become the values of a facet: what searches can't tell apart is one. Pure."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import msgspec

from whodid.stores.base import Facet, FacetField, FacetValue
from whodid.stores.rows import actor_from_text

_decode = msgspec.json.Decoder(tuple[str, str | None, str | None, str | None]).decode


def facet_value(field: FacetField, text: str, *, count: int) -> FacetValue:
    """The facet value of a text that a store keeps for a field."""
    if field != "actor":
        return FacetValue(field=field, value=text, label=text, count=count)
    actor = actor_from_text(text)
    label = actor.name or actor.email or actor.id or actor.type
    if actor.id:
        return FacetValue(field="actor.id", value=actor.id, label=label, count=count)
    return FacetValue(field="actor.type", value=actor.type, label=label, count=count)


def facet_name(field: FacetField, text: str) -> str:
    """What all texts of one facet value have in common, and no others: they differ in case alone.

    Values sort by it.
    """
    if field != "actor":
        return text.casefold()
    kind, actor_id, *_ = _decode(text)  # not the whole actor: this is asked of every value
    return f"id:{actor_id.casefold()}" if actor_id else f"type:{kind}"


def address_text(packed: bytes) -> str:
    """A packed address as it is written."""
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def make_facet(
    field: FacetField,
    counted: Mapping[str, int],
    *,
    limit: int,
    distinct: int | None = None,
    exact: bool = True,
) -> Facet:
    """The commonest values among counted texts; of those of one value the commonest is shown.

    Args:
        counted: How many events have each text; "" is no value.
        distinct: How many values there are, where not all of them are in `counted`.
    """
    merged: dict[str, list[FacetValue]] = {}
    for text, count in sorted(counted.items()):
        if text:
            value = facet_value(field, text, count=count)
            merged.setdefault(facet_name(field, text), []).append(value)
    ordered = sorted(((-sum(value.count for value in same), name) for name, same in merged.items()))
    values = []
    for negative, name in ordered[:limit]:
        shown = max(merged[name], key=lambda value: value.count)
        values.append(
            FacetValue(field=shown.field, value=shown.value, label=shown.label, count=-negative)
        )
    return Facet(
        field=field,
        values=values,
        distinct=len(merged) if distinct is None else distinct,
        exact=exact,
    )
