"""What the companies work on: the kinds of records, their fields, names and steps.

A new kind needs `FIELDS`, and where it has them `NAMES`, `OWNERS` and `DATA_CLASSES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Any, NamedTuple, TypeAlias

from whodid.times import Instant

_Maker: TypeAlias = Callable[[Random, Any, int], Any]  # rng, old value or None, time → new value


class Field(NamedTuple):
    """One field of a kind of record: how often it is edited, and to what."""

    path: str
    weight: float
    make: _Maker
    is_masked: bool = False


@dataclass(slots=True)
class Record:
    kind: str
    id: str
    name: str
    values: dict[str, Any]
    owner: Record | None = None  # whose it is, told as a second target

    @property
    def and_owner(self) -> list[Record]:
        """The record and, if it belongs to one, that."""
        return [self, self.owner] if self.owner else [self]

    @property
    def is_finished(self) -> bool:
        return self.values.get("status") in _FINISHED


def _day_near(rng: Random, old: Any, at: int) -> str:
    start = date.fromisoformat(old) if old else Instant.from_micros(at).date()
    return (start + timedelta(days=rng.choice((3, 7, 14, 21, 30)))).isoformat()


def _slot_near(rng: Random, _: Any, at: int) -> str:
    day = Instant.from_micros(at).date() + timedelta(days=rng.randrange(1, 21))
    return f"{day.isoformat()} {rng.randrange(8, 17):02d}:{rng.choice(('00', '15', '30', '45'))}"


def _money(rng: Random, old: Any, _: int) -> float:
    if old is None:
        return round(rng.lognormvariate(8.6, 0.9), 2)
    return round(float(old) * rng.uniform(0.85, 1.2), 2)


def _price(rng: Random, old: Any, _: int) -> float:
    return round(rng.choice((4.9, 7.5, 12.9, 18.0, 24.5, 39.0)) + rng.randrange(9), 2)


def _count(low: int, high: int, step: int = 1) -> _Maker:
    def make(rng: Random, old: Any, _: int) -> int:
        number = rng.randrange(low, high, step)
        return number + step if number == old else number

    return make


def _one_of(*options: Any) -> _Maker:
    def make(rng: Random, old: Any, _: int) -> Any:
        return rng.choice([option for option in options if option != old])

    return make


def _next_of(*steps: str) -> _Maker:
    """A status that moves on; nothing comes after the last, see `_FINISHED`."""

    def make(_: Random, old: Any, __: int) -> str:
        return steps[0] if old is None else steps[min(steps.index(old) + 1, len(steps) - 1)]

    return make


def _wording(template: str, *slots: tuple[str, ...]) -> _Maker:
    """A sentence in which one or two phrases are edited at a time, as people do."""

    def make(rng: Random, old: Any, _: int) -> str:
        if old is None:
            return template.format(*(rng.choice(slot) for slot in slots))
        text = str(old)
        for slot in rng.sample(slots, rng.choice((1, 1, 2))):
            used = max((phrase for phrase in slot if phrase in text), key=len)
            text = text.replace(used, rng.choice([other for other in slot if other != used]), 1)
        return text

    return make


def order_reference(rng: Random, _: Any, __: int) -> str:
    return f"PO-{rng.randrange(3000, 9999)}"


def _phone(rng: Random, _: Any, __: int) -> str:
    return f"•••• {rng.randrange(10, 99)}"


def bank_account(rng: Random, _: Any, __: int) -> str:
    return f"NO{rng.randrange(10, 99)} •••• {rng.randrange(10, 99)}"


_DELIVERY = _wording(
    "Deliver to the {} entrance, {}, not before {}. {}",
    ("side", "main", "rear"),
    ("ring twice", "call the driver first", "use the ramp"),
    ("07:00", "08:30", "10:00"),
    ("Two pallets, stackable.", "Two pallets, not stackable.", "Keep dry and upright."),
)
_TERMS = _wording(
    "Payable within {} days. {} per cent discount within {} days. Late payments bear {} interest.",
    ("14", "30", "45"),
    ("Two", "Three", "No"),
    ("8", "10"),
    ("statutory", "agreed", "no"),
)
_CHART_NOTE = _wording(
    "{}; advised {}. Review in {}, sooner if {}.",
    ("Blood pressure settled", "Cough improving", "Knee still swollen", "Sleeping better"),
    ("rest", "daily walks", "to keep the brace on", "less salt"),
    ("two weeks", "a month", "three months"),
    ("it gets worse", "fever returns", "pain wakes at night"),
)
_PRODUCT_TEXT = _wording(
    "{} {}, {} and {}. Ground the day we pack it.",
    ("Smoky", "Bright", "Warm"),
    ("black pepper", "juniper blend", "pine salt"),
    ("hand-picked", "slow-dried", "wild-grown"),
    ("good with fish", "good with game", "good with roast roots"),
)
FIELDS: Mapping[str, tuple[Field, ...]] = {
    "customer": (
        Field("billing_address", 3, _wording(
            "{} {}, {}", ("Kaigaten", "Havneveien", "Strandgata", "Torget"),
            ("4", "12 B", "27", "31 C"), ("5015 Bergen", "0150 Oslo", "8000 Aarhus"))),
        Field("contact", 2, _one_of("Accounts payable", "Front office", "Goods in", "Owner")),
        Field("phone", 2, _phone, is_masked=True),
        Field("bank_account", 1, bank_account, is_masked=True),
        Field("credit_limit", 1.5, _count(10_000, 200_000, 5_000)),
        Field("vat_exempt", 0.5, _one_of(True, False)),
    ),
    "invoice": (
        Field("due_date", 4, _day_near),
        Field("amount", 4, _money),
        Field("terms", 2, _TERMS),
        Field("reference", 2, order_reference),
        Field("cost_centre", 1, _one_of("4100", "4150", "4210", "5030")),
        Field("status", 3, _next_of("draft", "approved", "sent", "paid")),
    ),
    "shipment": (
        Field("status", 9, _next_of(
            "booked", "picked up", "at the depot", "on the road", "delivered")),
        Field("assignee", 3, _one_of("Jonas Berg", "Sindre Haugen", "Sofie Krogh", "Lars Kjær")),
        Field("note", 3, _DELIVERY),
        Field("weight_kg", 1, _count(40, 18_000)),
        Field("eta", 2, _slot_near),
    ),
    "patient": (
        Field("chart_note", 5, _CHART_NOTE, is_masked=True),
        Field("allergies", 1, _one_of([], ["penicillin"], ["nuts"], ["latex", "nuts"]), True),
        Field("phone", 2, _phone, is_masked=True),
        Field("consent_sharing", 1, _one_of(True, False)),
        Field("next_review", 2, _day_near),
    ),
    "appointment": (
        Field("starts", 6, _slot_near),
        Field("room", 2, _one_of("Room 1", "Room 2", "Room 4", "Treatment room")),
    ),
    "prescription": (Field("status", 1, _next_of("draft", "signed", "dispensed")),),
    "student": (
        Field("homeroom", 1, _one_of("7A", "7B", "8A", "8B", "9A")),
        Field("guardian_phone", 2, _phone, is_masked=True),
        Field("absences", 3, _count(0, 14)),
        Field("bus_route", 1, _one_of("North shore", "Quay", "Mill road", "walks")),
    ),
    "grade": (Field("grade", 1, _one_of("A", "A-", "B+", "B", "B-", "C+", "C", "D")),),
    "document": (
        Field("body", 4, _wording(
            "{} on {}: read chapter {} and answer the questions in {} sentences.",
            ("Homework", "Preparation", "Group work"), ("Monday", "Wednesday", "Friday"),
            ("3", "4", "7"), ("two", "five", "full"))),
        Field("due", 2, _day_near),
    ),
    "product": (
        Field("price", 5, _price),
        Field("stock", 6, _count(0, 240)),
        Field("description", 2, _PRODUCT_TEXT),
        Field("is_listed", 1, _one_of(True, False)),
    ),
    "order": (
        Field("status", 6, _next_of("placed", "packed", "shipped", "delivered")),
        Field("shipping", 1, _one_of("standard", "express", "pick-up")),
        Field("note", 1, _wording(
            "{}, {} please.", ("Gift wrap", "No wrap", "Recycled box"),
            ("no invoice inside", "with a card", "leave at the door"))),
    ),
}  # fmt: skip
NAMES: Mapping[str, tuple[str, ...]] = {
    "customer": (
        "Vogt & Sønner", "Brattli Møbler", "Havbris Seafood", "Nordlys Ceramics", "Kvist Paper",
        "Tangen Cycles", "Ormen Boats", "Søndag Bakeri", "Glim Lighting", "Steinrud Tools",
        "Ulvik Cider", "Fabel Books", "Myrvoll Timber", "Rognan Wool", "Sletta Glass",
        "Isfjord Ice", "Lyngen Optics", "Polarsalt", "Trane Textiles", "Vinter Skis",
    ),
    "pepperpine.customer": (
        "Ada Whitlow", "Bruno Castle", "Dilys Marr", "Enzo Ferrand", "Gita Solanki",
        "Hugo Penn", "Isla Brandt", "Karl Osei", "Lottie Crane", "Mei Tanaka-Holt",
    ),
    "patient": (
        "Harriet Bowden", "Jasper Quill", "Amara Dube", "Stanley Croft", "Edith Larkin",
        "Piotr Zielny", "Maeve Donohue", "Arthur Penhale", "Sunita Raval", "Colin Yarrow",
        "Freda Tunstall", "Ines Carvela", "Walter Hobday", "Nell Garrick", "Omar Haddou",
    ),
    "student": (
        "Mathis Gallant", "Zoe Pettipas", "Liam Corkum", "Aisha Rahmani", "Ella Comeau",
        "Owen Saulnier", "Maya Boudrot", "Jonah Weir", "Chloe Melan", "Theo Surette",
        "Ivy Dauphin", "Sam Oickle",
    ),
    "product": (
        "Smoked pepper 80 g", "Pine salt 120 g", "Juniper blend 60 g", "Forest tea 50 g",
        "Spruce syrup 200 ml", "Pepper mill, oak", "Gift box, winter", "Wild thyme 30 g",
        "Birch sugar 250 g", "Cedar plank, two", "Pepper sampler", "Sea lettuce 20 g",
    ),
    "document": (
        "Reading plan, grade 8", "Lab rules", "Trip to the harbour", "Poetry week",
        "Fractions, part two", "Quiz on rivers",
    ),
}  # fmt: skip
PREFIXES = {"invoice": "", "shipment": "LF-", "order": "PP-", "prescription": "RX-"}
OWNERS = {
    "appointment": "patient",
    "grade": "student",
    "invoice": "customer",
    "order": "customer",
    "prescription": "patient",
    "shipment": "customer",
}
"""What kind of record such a one belongs to."""
_FINISHED = frozenset({"paid", "void", "delivered", "cancelled", "refunded", "dispensed"})
STATUS_AFTER = {
    "approve": "approved",
    "cancel": "cancelled",
    "refund": "refunded",
    "send": "sent",
    "sign": "signed",
    "void": "void",
}
"""What a verb makes of the status, where it does not simply move on."""
STATUS_BEFORE = {"approve": "draft", "send": "approved", "sign": "draft"}
DATA_CLASSES: Mapping[str, tuple[str, ...]] = {
    "customer": ("personal",),
    "invoice": ("financial",),
    "patient": ("personal", "health"),
    "appointment": ("personal", "health"),
    "prescription": ("health",),
    "student": ("personal", "minor"),
    "grade": ("personal", "minor"),
    "order": ("personal",),
    "payment": ("financial",),
    "payout": ("financial",),
    "user": ("personal",),
}
