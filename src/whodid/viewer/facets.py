"""The filters on the left: the commonest values of a few fields, each to include or to rule out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

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
_SEVERITIES = ("critical", "high", "medium", "low", "info", "debug")


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
    """

    title: str
    options: Sequence[Option]
    more: Sequence[Option]
    others: int
    clear_url: str | None


def qualifiers(field: FacetField) -> tuple[str, ...]:
    """The search fields that a filter's terms are written with."""
    return _QUALIFIERS.get(field, (field,))


def chosen_fields(terms: Terms) -> list[FacetField]:
    """Filters that the search uses: these are counted as if it did not, to offer alternatives."""
    used = terms.fields()
    return [field for field in TITLES if used & set(qualifiers(field))]


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
    names = {
        **{(value.field, value.value): value.label for value in facet.values},
        **{("tenant", key): name for key, name in tenant_names.items()},
    }
    counts = {(value.field, value.value): value.count for value in facet.values}
    ordered = list(counts)
    if facet.field == "severity":
        ordered.sort(key=lambda pair: _SEVERITIES.index(pair[1]))
    if facet.field == "outcome":
        ordered.sort(key=lambda pair: list(OUTCOMES).index(pair[1]))
    counted = {(field, fold(value)) for field, value in counts}
    rare = [
        (field, value)
        for field, value in _named_in(terms, facet.field)
        if (field, fold(value)) not in counted
    ]
    options = [
        _option(facet.field, pair, names.get(pair, pair[1]), counts.get(pair), terms, address)
        for pair in [*ordered, *rare]
    ]
    folded = [
        index
        for index, option in enumerate(options)
        if index >= _SHOWN_AT_ONCE and not option.state
    ]
    if facet.field in ("outcome", "severity") or len(folded) == 1:
        folded = []
    used = terms.fields() & set(qualifiers(facet.field))
    return Filter(
        title=TITLES[facet.field],
        options=[option for index, option in enumerate(options) if index not in folded],
        more=[options[index] for index in folded],
        others=max(facet.distinct - len(facet.values), 0),
        clear_url=address.searching(terms.without_fields(*qualifiers(facet.field))).list
        if used
        else None,
    )


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
