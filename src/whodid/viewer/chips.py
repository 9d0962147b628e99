"""The search as chips: each term at its top, to remove or to turn into its opposite.

The text in the box stays the search; a chip only shows how it was read, and saves typing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whodid.stores.base import Facet
from whodid.viewer.address import Address
from whodid.viewer.terms import Terms, unquoted

_QUALIFIER = re.compile(r"([\w.]+):(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """One term.

    Attributes:
        text: As it is written, without its sign.
        field: Its qualifier, "" for free text and for what is in parentheses.
        value: What stands behind the qualifier, by name where the page knows one.
    """

    text: str
    field: str
    value: str
    is_negative: bool
    remove_url: str
    negate_url: str


def chips(terms: Terms, *, address: Address, names: Mapping[tuple[str, str], str]) -> list[Chip]:
    """The terms of a search in their order.

    Args:
        names: (qualifier, value) → what a person calls it.
    """
    return [_chip(place, terms, address=address, names=names) for place in range(len(terms))]


def _chip(
    place: int, terms: Terms, *, address: Address, names: Mapping[tuple[str, str], str]
) -> Chip:
    written = terms.text(place)
    text = re.sub(r"\A(?:NOT |-)", "", written)
    found = _QUALIFIER.fullmatch(text)
    field, value = (found[1], found[2]) if found else ("", text)
    return Chip(
        text=text,
        field=field,
        value=names.get((field.lower(), unquoted(value)), value),
        is_negative=text != written,
        remove_url=address.searching(terms.without_place(place)).list,
        negate_url=address.searching(terms.negated(place)).list,
    )


def names_of(facets: Sequence[Facet], tenants: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """What the page calls the values that its filters count."""
    names: dict[tuple[str, str], str] = {}
    for facet in facets:
        names |= {(value.field, value.value): value.label for value in facet.values if value.label}
    return names | {("tenant", key): name for key, name in tenants.items()}
