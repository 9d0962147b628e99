"""Relations that are no plain foreign keys: generic ones, to other fields, in composite keys."""

# The stubs of Django's fields say nothing without their plugin.
# mypy: disable-error-code="var-annotated, no-any-return, attr-defined, misc"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django
import pytest
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import connection, models
from msgspec import UNSET

from tests.capture.django.site import actions, one, sides
from whodid.capture.django import audit
from whodid.event import Event

Told = Callable[[], list[Event]]


class Remark(models.Model):
    """About anything."""

    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.PositiveIntegerField()
    about = GenericForeignKey("content_type", "object_id")
    text = models.CharField(max_length=50)

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return self.text


class Report(models.Model):
    title = models.CharField(max_length=50)
    remarks = GenericRelation(Remark)

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return self.title


class Country(models.Model):
    code = models.CharField(max_length=2, unique=True)

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return f"Country {self.code}"


class City(models.Model):
    name = models.CharField(max_length=50)
    country = models.ForeignKey(Country, models.CASCADE, to_field="code")
    twin_of = models.ForeignKey(
        Country, models.SET_NULL, to_field="code", null=True, related_name="twins"
    )

    class Audit:
        parent = "country"

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return self.name


class Passport(models.Model):
    """Its key is another one's."""

    country = models.OneToOneField(Country, models.CASCADE, primary_key=True)
    colour = models.CharField(max_length=20)

    class Meta:
        app_label = "shop"


# -- generic relations ---------------------------------------------------------------------------


def test_what_a_generic_key_points_at_is_in_the_event(told: Told) -> None:
    report = Report.objects.create(title="Q3")
    told()

    report.remarks.create(text="late")

    event = one(told(), "remark.create")
    kind = ContentType.objects.get_for_model(Report)
    assert sides(event)["content_type"] == (UNSET, kind.pk)
    assert sides(event)["object_id"] == (UNSET, report.pk)
    assert event.targets[0].name == "late"


def test_a_generic_key_that_points_elsewhere_is_an_update(told: Told) -> None:
    first, second = Report.objects.create(title="Q3"), Report.objects.create(title="Q4")
    remark = Remark.objects.create(about=first, text="late")
    told()

    remark.about = second
    remark.save()

    assert sides(one(told(), "remark.update")) == {"object_id": (first.pk, second.pk)}


def test_adding_and_clearing_generic_relations_tells_of_each_row(told: Told) -> None:
    report, other = Report.objects.create(title="Q3"), Report.objects.create(title="Q4")
    remarks = [Remark.objects.create(about=other, text=text) for text in "ab"]
    told()

    report.remarks.add(*remarks)
    assert actions(told()) == ["remark.update", "remark.update"]

    report.remarks.remove(remarks[0])
    assert actions(told()) == ["remark.delete"]

    report.remarks.clear()
    assert actions(told()) == ["remark.delete"]


def test_a_deletion_takes_what_is_generically_related_with_it(told: Told) -> None:
    report, other = Report.objects.create(title="Q3"), Report.objects.create(title="Q4")
    for text in "ab":
        report.remarks.create(text=text)
    other.remarks.create(text="c")
    told()

    report.delete()

    events = told()
    assert sorted(actions(events)) == ["remark.delete", "remark.delete", "report.delete"]
    assert {event.targets[0].name for event in events} == {"Q3", "a", "b"}
    assert len({event.correlation_id for event in events}) == 1
    assert Remark.objects.count() == 1


def test_a_deletion_of_many_takes_what_is_generically_related_with_it(told: Told) -> None:
    for title in ("Q3", "Q4"):
        Report.objects.create(title=title).remarks.create(text=f"on {title}")
    told()

    Report.objects.all().delete()

    assert sorted(actions(told())) == ["remark.delete"] * 2 + ["report.delete"] * 2


# -- keys to other fields ------------------------------------------------------------------------


def test_a_key_to_another_field_is_told_as_it_is_stored(told: Told) -> None:
    pt, br = Country.objects.create(code="pt"), Country.objects.create(code="br")
    city = City.objects.create(name="Faro", country=pt)
    told()

    city.country, city.twin_of = br, pt
    city.save()

    event = one(told(), "city.update")
    assert sides(event) == {"country": ("pt", "br"), "twin_of": (None, "pt")}
    assert event.metadata
    assert event.metadata["labels"] == {"country": "Country br", "twin_of": "Country pt"}


def test_a_deletion_is_told_with_those_that_point_at_another_field(told: Told) -> None:
    pt, br = Country.objects.create(code="pt"), Country.objects.create(code="br")
    City.objects.create(name="Faro", country=pt)
    City.objects.create(name="Olinda", country=br, twin_of=pt)
    Passport.objects.create(country=pt, colour="red")
    told()

    pt.delete()

    events = told()
    assert sorted(actions(events)) == [
        "city.delete", "city.update", "country.delete", "passport.delete",
    ]  # fmt: skip
    assert sides(one(events, "city.update")) == {"twin_of": ("pt", None)}


def test_a_key_that_is_another_one_s_is_told(told: Told) -> None:
    pt = Country.objects.create(code="pt")
    passport = Passport.objects.create(country=pt, colour="red")
    passport.colour = "blue"
    passport.save()
    Passport.objects.update(colour="green")
    Passport.objects.bulk_update([passport], ["colour"])
    passport.delete()

    events = [event for event in told() if "passport" in event.action]
    assert actions(events) == [
        "passport.create", "passport.update", "passport.update", "passport.update",
        "passport.delete",
    ]  # fmt: skip
    assert {event.targets[0].id for event in events} == {str(pt.pk)}


# -- composite keys ------------------------------------------------------------------------------

if django.VERSION >= (5, 2):

    class Show(models.Model):
        title = models.CharField(max_length=50)

        class Meta:
            app_label = "shop"

    class Booking(models.Model):
        """Its key has a foreign key in it."""

        pk = models.CompositePrimaryKey("show", "place")
        show = models.ForeignKey(Show, models.CASCADE)
        place = models.IntegerField()
        holder = models.CharField(max_length=50, default="")

        class Meta:
            app_label = "shop"

        def __str__(self) -> str:
            return f"place {self.place}"


composite = pytest.mark.skipif(django.VERSION < (5, 2), reason="Django 5.2 and newer have it")


def _bookings(*places: int) -> tuple[Any, list[Any]]:
    show = Show.objects.create(title="Hamlet")
    return show, Booking.objects.bulk_create(
        [Booking(show=show, place=place, holder="Ana") for place in places]
    )


@composite
def test_rows_with_composite_keys_are_told_by_both_parts(told: Told) -> None:
    show, [booking] = _bookings(7)
    booking.holder = "Bob"
    booking.save()
    Booking.objects.filter(pk=(show.pk, 7)).update(holder="Cleo")
    booking.delete()

    events = told()[1:]
    assert actions(events) == [
        "booking.create", "booking.update", "booking.update", "booking.delete",
    ]  # fmt: skip
    assert len({event.targets[0].id for event in events}) == 1
    key = str(events[0].targets[0].id)
    assert str(show.pk) in key
    assert "7" in key
    assert [sides(event).get("holder") for event in events] == [
        (UNSET, "Ana"), ("Ana", "Bob"), ("Bob", "Cleo"), ("Cleo", UNSET),
    ]  # fmt: skip


@composite
def test_many_rows_with_composite_keys_are_told_one_by_one(told: Told) -> None:
    _, bookings = _bookings(1, 2, 3)
    told()
    for booking in bookings:
        booking.holder = "Bob"

    Booking.objects.bulk_update(bookings, ["holder"])
    assert actions(told()) == ["booking.update"] * 3

    Booking.objects.filter(place__gt=1).delete()
    assert actions(told()) == ["booking.delete"] * 2


@composite
def test_a_deletion_takes_rows_with_composite_keys_with_it(told: Told) -> None:
    show, _ = _bookings(1, 2)
    told()

    show.delete()

    assert sorted(actions(told())) == ["booking.delete", "booking.delete", "show.delete"]


@composite
def test_the_history_of_a_row_with_a_composite_key_is_found() -> None:
    _, [booking] = _bookings(7)
    booking.holder = "Bob"
    booking.save()

    assert [event.action for event in audit.history(booking)] == [
        "booking.update", "booking.create",
    ]  # fmt: skip


@composite
def test_a_part_of_a_composite_key_that_changes_is_another_row(told: Told) -> None:
    _, [booking] = _bookings(7)
    told()

    booking.place = 8
    booking.save()

    assert actions(told()) == ["booking.create"]
    assert Booking.objects.count() == 2


@composite
def test_rows_with_composite_keys_are_updated_where_they_collide(told: Told) -> None:
    show, _ = _bookings(1)
    told()

    Booking.objects.bulk_create(
        [Booking(show=show, place=place, holder="Bob") for place in (1, 2)],
        update_conflicts=True, update_fields=["holder"], unique_fields=["show", "place"],
    )  # fmt: skip

    assert actions(told()) == ["booking.update", "booking.create"]


# -- values that can't be read -------------------------------------------------------------------


class Sealed(models.CharField):  # type: ignore[type-arg]  # of what, its stubs ask
    """As a field is whose values were encrypted with a key that is lost."""

    def from_db_value(self, value: str | None, *_: object) -> str | None:
        if value == "of a lost key":
            raise ValueError("it can't be decrypted")
        return value


class Legacy(models.Model):
    data = models.JSONField(default=dict)
    code = Sealed(max_length=50, default="")
    name = models.CharField(max_length=50, default="")

    class Meta:
        app_label = "shop"


def _legacy(told: Told, *, column: str, value: str) -> Legacy:
    """A row of which the database holds something that Django can't read."""
    legacy = Legacy.objects.create(data={"a": 1}, name="old")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(f"UPDATE shop_legacy SET {column} = %s", [value])
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    told()
    return legacy


def test_what_is_no_json_is_told_as_it_is(told: Told) -> None:
    legacy = _legacy(told, column="data", value="no JSON")

    legacy.data = {"b": 2}
    legacy.save()

    assert sides(one(told(), "legacy.update")) == {"data": ("no JSON", {"b": 2})}


UNREADABLE = [("data", "no JSON"), ("code", "of a lost key")]


@pytest.mark.parametrize(("column", "value"), UNREADABLE)
def test_rows_that_can_t_be_read_are_changed_and_deleted_as_without_us(
    column: str, value: str, told: Told
) -> None:
    legacy = _legacy(told, column=column, value=value)

    Legacy.objects.filter(pk=legacy.pk).update(name="new")
    Legacy.objects.filter(pk=legacy.pk).delete()

    assert not Legacy.objects.exists()
