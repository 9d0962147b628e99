"""The four companies and the people in them: names, duties, offices, working hours."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """Attributes: `weight` says how often they sign in, `duty` what they then do."""

    name: str
    duty: str
    weight: float
    place: str
    device: str
    ip: str
    id: str
    email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """A tenant, the people in it, and when they work (weights of the hours, local time)."""

    id: str
    name: str
    zone: str
    share: float
    apps: tuple[str, ...]
    hours: tuple[float, ...]
    weekdays: tuple[float, ...]
    people: tuple[Person, ...]
    kinds: tuple[str, ...]

    def find(self, name: str) -> Person:
        return next(person for person in self.people if person.name == name)


def ascii_of(text: str) -> str:
    """In small letters without accents, for addresses and ids."""
    text = text.lower().replace("ø", "o").replace("æ", "ae")
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _people(
    domain: str, offices: Mapping[str, str], rows: Sequence[tuple[str, str, float, str, str]]
) -> tuple[Person, ...]:
    """People from rows of name, duty, weight, place and device, with their office's address."""
    people = []
    for number, (name, duty, weight, place, device) in enumerate(rows):
        people.append(
            Person(
                name=name,
                duty=duty,
                weight=weight,
                place=place,
                device=device,
                ip=offices[place],
                id=f"usr_{412 + 5 * number:04d}",
                email=f"{ascii_of(name).replace(' ', '.')}@{domain}",
            )
        )
    return tuple(people)


def _by_hour(text: str) -> tuple[float, ...]:
    """24 weights from midnight on."""
    return tuple(float(number) for number in text.split())


COMPANIES: tuple[Company, ...] = (
    Company(
        id="larkspur",
        name="Larkspur Freight",
        zone="Europe/Oslo",
        share=0.6,
        apps=("billing", "dispatch"),
        hours=_by_hour(".4 .3 .3 .3 .5 1.5 4 8 11 12 12 10 7 10 11 10 8 5 3 2 1.5 1 .7 .5"),
        weekdays=(1.05, 1.1, 1.0, 1.05, 0.9, 0.25, 0.18),
        kinds=("customer", "invoice", "shipment"),
        people=_people(
            "larkspur.example",
            {
                "bergen": "198.51.100.24",
                "oslo": "198.51.100.61",
                "aarhus": "198.51.100.90",
                "gothenburg": "198.51.100.117",
            },
            (
                ("Ingrid Solheim", "admin", 3, "bergen", "mac"),
                ("Tomás Reyes", "dispatch", 5, "bergen", "mac"),
                ("Mira Okafor", "finance", 12, "bergen", "mac"),
                ("Jonas Berg", "dispatch", 10, "oslo", "chrome"),
                ("Priya Raman", "support", 5, "oslo", "linux"),
                ("Hannah Vogt", "portal", 3, "oslo", "windows"),
                ("Astrid Lunde", "finance", 8, "bergen", "windows"),
                ("Sindre Haugen", "dispatch", 8, "bergen", "windows"),
                ("Kaja Moen", "dispatch", 7, "oslo", "chrome"),
                ("Emil Strand", "finance", 5, "oslo", "windows"),
                ("Sofie Krogh", "dispatch", 6, "aarhus", "chrome"),
                ("Lars Kjær", "dispatch", 4, "aarhus", "windows"),
                ("Elin Sjöberg", "dispatch", 4, "gothenburg", "mac"),
                ("Nora Aune", "finance", 4, "bergen", "windows"),
                ("Petter Vik", "nights", 3, "bergen", "chrome"),
                ("Yusuf Demir", "nights", 3, "oslo", "tablet"),
                ("Marta Kowal", "portal", 2, "gothenburg", "chrome"),
                ("Oskar Lind", "portal", 2, "aarhus", "phone"),
                ("Silje Rønning", "admin", 2, "bergen", "linux"),
            ),
        ),
    ),
    Company(
        id="fernmere",
        name="Fernmere Clinic",
        zone="Europe/London",
        share=0.18,
        apps=("charts", "frontdesk"),
        hours=_by_hour(".1 .1 .1 .1 .1 .2 1 5 11 12 12 10 6 9 11 11 9 6 2 .6 .3 .2 .1 .1"),
        weekdays=(1.1, 1.05, 1.0, 1.0, 0.95, 0.3, 0.06),
        kinds=("patient", "appointment", "prescription"),
        people=_people(
            "fernmere.example",
            {"bristol": "198.51.100.140", "bath": "198.51.100.151"},
            (
                ("Gwen Hartley", "manager", 3, "bristol", "windows"),
                ("Ravi Castell", "doctor", 9, "bristol", "windows"),
                ("Imogen Shaw", "doctor", 8, "bristol", "mac"),
                ("Tobias Renn", "doctor", 6, "bath", "windows"),
                ("Bridget Oyelaran", "nurse", 8, "bristol", "tablet"),
                ("Callum Frayne", "nurse", 7, "bath", "tablet"),
                ("Leila Nassar", "reception", 10, "bristol", "chrome"),
                ("Dot Penrose", "reception", 8, "bath", "chrome"),
            ),
        ),
    ),
    Company(
        id="alderquay",
        name="Alderquay School",
        zone="America/Halifax",
        share=0.14,
        apps=("campus",),
        hours=_by_hour(".1 .1 .1 .1 .1 .2 2 9 12 10 10 9 8 9 9 5 3 2 2 4 5 3 1 .3"),
        weekdays=(1.05, 1.0, 1.0, 1.0, 0.9, 0.08, 0.3),
        kinds=("student", "grade", "document"),
        people=_people(
            "alderquay.example",
            {"halifax": "198.51.100.170"},
            (
                ("Ruth Adebayo", "school_office", 3, "halifax", "windows"),
                ("Victor Lang", "school_admin", 4, "halifax", "linux"),
                ("Alice Moreau", "teacher", 6, "halifax", "mac"),
                ("Alice Morin", "teacher", 5, "halifax", "windows"),
                ("Desmond Yeo", "teacher", 6, "halifax", "chrome"),
                ("Carla Whitcombe", "teacher", 6, "halifax", "mac"),
                ("Noah Tessier", "teacher", 5, "halifax", "chrome"),
                ("Beth Arsenau", "school_office", 6, "halifax", "windows"),
            ),
        ),
    ),
    Company(
        id="pepperpine",
        name="Pepper & Pine",
        zone="Australia/Melbourne",
        share=0.08,
        apps=("storefront",),
        hours=_by_hour(".4 .2 .1 .1 .1 .2 .6 2 5 8 10 10 11 10 9 9 9 8 7 7 6 4 2 1"),
        weekdays=(0.8, 0.8, 0.9, 1.0, 1.2, 1.5, 1.1),
        kinds=("product", "customer", "order"),
        people=_people(
            "pepperpine.example",
            {"melbourne": "198.51.100.203"},
            (
                ("Josie Trent", "owner", 6, "melbourne", "mac"),
                ("Amir Kalani", "clerk", 8, "melbourne", "chrome"),
                ("Freya Lindqvist", "clerk", 6, "melbourne", "phone"),
            ),
        ),
    ),
)
