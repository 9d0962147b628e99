"""The filters on the left: the commonest values of a few fields, each to include or to rule out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from whodid.query.words import fold
from whodid.stores.base import Facet, FacetField
from whodid.viewer.address import Address
from whodid.viewer.countries import country_name
from whodid.viewer.people import KINDS
from whodid.viewer.rows import OUTCOMES
from whodid.viewer.terms import State, Terms

FACET_LIMIT = 10
_SHOWN_AT_ONCE = 5

TITLES: Mapping[FacetField, str] = {
    "outcome": "Outcome",
    "action": "Action",
    "actor": "Who",
    "country": "Country",
    "app": "App",
    "severity": "Severity",
    "tenant": "Tenant",
    "ip": "Address",
}
"""The fields that have filters, in their order on the page."""
_QUALIFIERS: Mapping[FacetField, tuple[str, ...]] = {"actor": ("actor.id", "actor.type")}
CLOSED: Mapping[FacetField, Sequence[str]] = {
    "outcome": tuple(OUTCOMES),
    "severity": ("critical", "high", "medium", "low", "info", "debug"),
}
"""Fields that have these values and no others, in their order on the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One value of a filter.

    Attributes:
        count: Events that have it; None when it is too rare to be among those counted.
        toggle_url: Demands the value, or stops to.
        exclude_url: Rules it out, or stops to.
    """

    label: str
    count: int | None
    state: State
    toggle_url: str
    exclude_url: str
    icon: str = ""
    css: str = ""
    is_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One field's filter.

    Attributes:
        more: Options that are folded away.
        others: How many further values there are.
        clear_url: The search without terms about the field, None when there are none.
        all_url: All its values, to search within; None when they are in sight already.
        is_exact: False when the counts are estimates.
    """

    title: str
    options: Sequence[Option]
    more: Sequence[Option]
    others: int
    clear_url: str | None
    all_url: str | None
    is_exact: bool = True


def qualifiers(field: FacetField) -> tuple[str, ...]:
    """The search fields that a filter's terms are written with."""
    return _QUALIFIERS.get(field, (field,))


def filters(
    facets: Sequence[Facet], *, terms: Terms, address: Address, tenant_names: Mapping[str, str]
) -> list[Filter]:
    """The filters that have something to choose from, in the page's order."""
    by_field = {facet.field: facet for facet in facets}
    return [
        shown
        for field in TITLES
        if field in by_field
        and (shown := _filter(by_field[field], terms, address, tenant_names)).options
    ]


def _filter(
    facet: Facet, terms: Terms, address: Address, tenant_names: Mapping[str, str]
) -> Filter:
    field = facet.field
    shown = options(facet, terms=terms, address=address, tenant_names=tenant_names)
    folded = [
        index for index, option in enumerate(shown) if index >= _SHOWN_AT_ONCE and not option.state
    ]
    if field in CLOSED or len(folded) == 1:
        folded = []
    own = qualifiers(field)
    is_used = bool(terms.fields() & set(own))
    others = max(facet.distinct - len(facet.values), 0)
    # What the search demands hides the other values: they are an address away, to choose from.
    has_others = others or any(option.state == "included" for option in shown)
    return Filter(
        title=TITLES[field],
        options=[option for index, option in enumerate(shown) if index not in folded],
        more=[shown[index] for index in folded],
        others=others,
        clear_url=address.searching(terms.without_fields(*own)).list if is_used else None,
        all_url=address.values(field) if has_others and field not in CLOSED else None,
        is_exact=facet.exact,
    )


def options(
    facet: Facet, *, terms: Terms, address: Address, tenant_names: Mapping[str, str]
) -> list[Option]:
    """The values of a facet to choose from, those of the search among them.

    Of a closed list all values are there, so that others can be added to the one that is chosen.
    """
    names = {
        **{(value.field, value.value): value.label for value in facet.values},
        **{("tenant", key): name for key, name in tenant_names.items()},
    }
    counts: dict[tuple[str, str], int | None] = {
        (value.field, value.value): value.count for value in facet.values
    }
    counted = {(field, fold(value)) for field, value in counts}
    for field, named in _named_in(terms, facet.field):
        value = named.lower() if field in CLOSED else named
        if (field, fold(value)) not in counted:
            counts[field, value] = None  # too rare, or ruled out
    ordered = list(counts)
    if known := CLOSED.get(facet.field):
        is_hiding = any(terms.state(*pair) == "included" for pair in counts)
        if is_hiding:
            for value in known:
                counts.setdefault((facet.field, value), None)
        ordered = sorted(counts, key=lambda pair: known.index(pair[1]))
    return [
        _option(facet.field, pair, names.get(pair, pair[1]), counts[pair], terms, address)
        for pair in ordered
    ]


def _named_in(terms: Terms, field: FacetField) -> Iterator[tuple[str, str]]:
    """Values of the search itself, which may be too rare to be counted."""
    for qualifier in qualifiers(field):
        for value in terms.values(qualifier):
            if terms.state(qualifier, value):
                yield qualifier, value


def _option(
    field: FacetField,
    pair: tuple[str, str],
    label: str,
    count: int | None,
    terms: Terms,
    address: Address,
) -> Option:
    state = terms.state(*pair)
    without = address.searching(terms.without(*pair)).list if state else ""
    icon, css = "", ""
    if field == "outcome":
        icon, label = OUTCOMES.get(pair[1], ("", pair[1]))
        css = pair[1]
    elif field == "country":
        label = country_name(label)
    elif pair[0] == "actor.type":
        label = KINDS.get(label, label)
    elif field == "severity":
        label = label.capitalize()
    return Option(
        label=label,
        count=count,
        state=state,
        toggle_url=without
        if state == "included"
        else address.searching(terms.including(*pair)).list,
        exclude_url=without
        if state == "excluded"
        else address.searching(terms.excluding(*pair)).list,
        icon=icon,
        css=css,
        is_code=field == "ip",
    )


def named(facet: Facet, names: Mapping[str, str]) -> Facet:
    """The facet with its values called by their names."""
    values = [replace(it, label=names.get(it.value, it.label)) for it in facet.values]
    return replace(facet, values=values)


def find_facet_field(name: str) -> FacetField | None:
    """The field of this name, if it has a filter."""
    return next((field for field in TITLES if field == name), None)


def holds_words(text: str, wanted: str) -> bool:
    """Does a text hold all of these words, or parts of words?"""
    folded = fold(text)
    return all(word in folded for word in fold(wanted).split())
