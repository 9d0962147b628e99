"""Where people are and with what device: the `client` of an event.

Addresses, networks and numbers of networks are from the ranges for documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from msgspec import UNSET

from whodid.event import Client, Device, Geo, Network


class _Place(NamedTuple):
    country: str
    city: str
    lat: float
    lon: float
    asn: int
    network: str


_PLACES: Mapping[str, _Place] = {
    "bergen": _Place("NO", "Bergen", 60.39, 5.32, 64496, "Fjordline Fibre"),
    "oslo": _Place("NO", "Oslo", 59.91, 10.75, 64496, "Fjordline Fibre"),
    "aarhus": _Place("DK", "Aarhus", 56.16, 10.2, 64497, "Sund Net"),
    "gothenburg": _Place("SE", "Gothenburg", 57.71, 11.97, 64497, "Sund Net"),
    "bristol": _Place("GB", "Bristol", 51.45, -2.59, 64498, "Avon Broadband"),
    "bath": _Place("GB", "Bath", 51.38, -2.36, 64498, "Avon Broadband"),
    "halifax": _Place("CA", "Halifax", 44.65, -63.57, 64499, "Harbour Cable"),
    "melbourne": _Place("AU", "Melbourne", -37.81, 144.96, 64501, "Yarra Telecom"),
    "singapore": _Place("SG", "Singapore", 1.35, 103.82, 64500, "Quayside Hosting"),
    "amsterdam": _Place("NL", "Amsterdam", 52.37, 4.9, 64502, "Polder Cloud"),
    "sao_paulo": _Place("BR", "São Paulo", -23.55, -46.63, 64503, "Serra Hosting"),
    "hanoi": _Place("VN", "Hanoi", 21.03, 105.85, 64504, "Red River Net"),
    "bucharest": _Place("RO", "Bucharest", 44.43, 26.1, 64505, "Carpat Data"),
    "chicago": _Place("US", "Chicago", 41.88, -87.63, 64506, "Lakefront Cloud"),
    "lagos": _Place("NG", "Lagos", 6.52, 3.38, 64507, "Lagoon Mobile"),
    "lisbon": _Place("PT", "Lisbon", 38.72, -9.14, 64508, "Tagus Mobile"),
}
ELSEWHERE = ("amsterdam", "sao_paulo", "hanoi", "bucharest", "chicago", "lagos")
_DEVICES: Mapping[str, tuple[str, str, str, str]] = {
    "mac": (
        "desktop", "macOS", "Safari",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    ),
    "windows": (
        "desktop", "Windows", "Edge",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
    ),
    "chrome": (
        "desktop", "Windows", "Chrome",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/141.0.0.0 Safari/537.36",
    ),
    "linux": (
        "desktop", "Linux", "Firefox",
        "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    ),
    "phone": (
        "mobile", "iOS", "Safari",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    ),
    "tablet": (
        "tablet", "Android", "Chrome",
        "Mozilla/5.0 (Linux; Android 15; Tab 9) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/141.0.0.0 Safari/537.36",
    ),
}  # fmt: skip


@cache
def client_at(ip: str, place: str, device: str, device_id: str = "") -> Client:
    """Shared by all events of one person at one place: building it costs more than the rest."""
    where = _PLACES[place]
    kind, os, browser, user_agent = _DEVICES[device]
    return Client(
        ip=ip,
        user_agent=user_agent,
        device=Device(id=device_id or UNSET, type=kind, os=os, browser=browser),
        geo=Geo(country=where.country, city=where.city, lat=where.lat, lon=where.lon),
        network=Network(asn=where.asn, org=where.network),
    )
