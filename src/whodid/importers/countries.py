"""Codes of countries by the English words that logs write: ISO 3166-1 alpha-2.

Complete for those that log in often; territories are left to `metadata`. Several words may mean
one country, since geolocation services spell them differently. How a code is shown is the viewer's
business, whose list goes the other way and has one name for each.
"""

from __future__ import annotations

import re
from functools import cache

_WORDS = """
AD andorra|AE united arab emirates|AF afghanistan|AG antigua and barbuda|AL albania|AM armenia
AO angola|AR argentina|AT austria|AU australia|AZ azerbaijan|BA bosnia and herzegovina|BB barbados
BD bangladesh|BE belgium|BF burkina faso|BG bulgaria|BH bahrain|BI burundi|BJ benin|BM bermuda
BN brunei|BN brunei darussalam|BO bolivia|BR brazil|BS bahamas|BS the bahamas|BT bhutan|BW botswana
BY belarus|BZ belize|CA canada|CD dr congo|CD democratic republic of the congo
CF central african republic|CG congo|CG congo republic|CG republic of the congo|CH switzerland
CI ivory coast|CI côte d'ivoire|CL chile|CM cameroon|CN china|CO colombia|CR costa rica|CU cuba
CV cape verde|CV cabo verde|CY cyprus|CZ czechia|CZ czech republic|DE germany|DJ djibouti|DK denmark
DM dominica|DO dominican republic|DZ algeria|EC ecuador|EE estonia|EG egypt|ER eritrea|ES spain
ET ethiopia|FI finland|FJ fiji|FR france|GA gabon|GB united kingdom|GB great britain|GD grenada
GE georgia|GH ghana|GI gibraltar|GM gambia|GN guinea|GQ equatorial guinea|GR greece|GT guatemala
GW guinea-bissau|GY guyana|HK hong kong|HN honduras|HR croatia|HT haiti|HU hungary|ID indonesia
IE ireland|IL israel|IM isle of man|IN india|IQ iraq|IR iran|IR islamic republic of iran|IS iceland
IT italy|JE jersey|JM jamaica|JO jordan|JP japan|KE kenya|KG kyrgyzstan|KH cambodia|KM comoros
KP north korea|KR south korea|KR republic of korea|KR korea, republic of|KW kuwait|KZ kazakhstan
LA laos|LB lebanon|LC saint lucia|LI liechtenstein|LK sri lanka|LR liberia|LS lesotho|LT lithuania
LU luxembourg|LV latvia|LY libya|MA morocco|MC monaco|MD moldova|MD republic of moldova
ME montenegro|MG madagascar|MK north macedonia|MK macedonia|ML mali|MM myanmar|MM myanmar (burma)
MN mongolia|MO macao|MO macau|MR mauritania|MT malta|MU mauritius|MV maldives|MW malawi|MX mexico
MY malaysia|MZ mozambique|NA namibia|NE niger|NG nigeria|NI nicaragua|NL netherlands
NL the netherlands|NO norway|NP nepal|NZ new zealand|OM oman|PA panama|PE peru|PG papua new guinea
PH philippines|PK pakistan|PL poland|PR puerto rico|PS palestine|PT portugal|PY paraguay|QA qatar
RO romania|RS serbia|RU russia|RU russian federation|RW rwanda|SA saudi arabia|SC seychelles
SD sudan|SE sweden|SG singapore|SI slovenia|SK slovakia|SK slovak republic|SL sierra leone
SM san marino|SN senegal|SO somalia|SR suriname|SS south sudan|SV el salvador|SY syria|SZ eswatini
TD chad|TG togo|TH thailand|TJ tajikistan|TL timor-leste|TM turkmenistan|TN tunisia|TR turkey
TR türkiye|TT trinidad and tobago|TW taiwan|TZ tanzania|UA ukraine|UG uganda|US united states
US united states of america|US usa|UY uruguay|UZ uzbekistan|VE venezuela|VN vietnam|VN viet nam
XK kosovo|YE yemen|ZA south africa|ZM zambia|ZW zimbabwe
"""
_CODE = re.compile(r"[A-Z]{2}")


def country_code(word: str | None) -> str | None:
    """`US` of `United States`, and of `US`; None of what is neither."""
    if not word or _CODE.fullmatch(word):
        return word or None
    return _codes().get(word.lower())


@cache
def _codes() -> dict[str, str]:
    pairs = (item.split(" ", 1) for line in _WORDS.split("\n") for item in line.split("|") if item)
    return {name: code for code, name in pairs}
