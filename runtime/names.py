"""X.500 legal names: parsed once, at the edge, into one canonical text.

Canonical: ``CN=…,OU=…,O=Bank A,L=London,ST=…,C=GB`` in this order, upper-case keys, no space around
``,`` and ``=``, optional attributes left out. Two names are the same exactly if their canonical
texts are equal, so the rules below leave no second way to write one: values are in NFKC, without
leading, trailing or double spaces, and the characters that would need escaping are not allowed.
Only Latin letters are, because letters of other scripts may look the same and be different.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from runtime.errors import NameInvalid
from runtime.ids import PeerName

# Longer text is refused before it is looked at; all attributes at their maximum need 415.
NAME_CHARACTERS_MAX: Final = 512

_FIELDS: Final = {
    "CN": "common_name",
    "OU": "organisation_unit",
    "O": "organisation",
    "L": "locality",
    "ST": "state",
    "C": "country",
}
_CHARACTERS_MAX: Final = {"CN": 64, "OU": 64, "O": 128, "L": 64, "ST": 64}
_REQUIRED: Final = ("O", "L", "C")
_LETTERS_MIN: Final = 2

# What RFC 4514 would have us escape.
_FORBIDDEN: Final = frozenset(',=+";\\<>#')
_FORBIDDEN_IN_LEGAL_NAME: Final = _FORBIDDEN | frozenset("'$`")
_LEGAL_NAME: Final = frozenset({"O", "CN"})

# Punctuation, dashes and quotation marks; currency signs. No controls of direction among them.
_SYMBOL_RANGES: Final = ((0x20, 0x24F), (0x2010, 0x2027), (0x2030, 0x205E), (0x20A0, 0x20CF))
_COMBINING_RANGE: Final = (0x300, 0x36F)

_COUNTRIES: Final = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
    BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
    EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
    HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
    LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
    NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
    TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()  # noqa: SIM905  one word a country is easier to check against the list
)
_COUNTRY_MISTAKES: Final = {"UK": "GB", "EN": "GB", "EL": "GR", "USA": "US"}


@dataclass(frozen=True, slots=True, kw_only=True)
class X500Name:
    """The legal name of a node's identity; every instance is valid."""

    organisation: str
    locality: str
    country: str
    organisation_unit: str | None = None
    common_name: str | None = None
    state: str | None = None

    def __post_init__(self) -> None:
        for attribute, value in self.attributes().items():
            _check(attribute, value)

    @classmethod
    def parse(cls, text: str) -> "X500Name":
        """Read a name with its attributes in any order and spacing; raises `NameInvalid`."""
        return cls.from_attributes(_split(text))

    @classmethod
    def from_attributes(cls, values: Mapping[str, str]) -> "X500Name":
        """Make a name of values by their keys (O, L, C, ...); raises `NameInvalid`."""
        for attribute in _REQUIRED:
            if attribute not in values:
                raise NameInvalid(attribute, "is missing", f"Add {_example(attribute)}")
        return cls(
            organisation=values["O"],
            locality=values["L"],
            country=values["C"],
            organisation_unit=values.get("OU"),
            common_name=values.get("CN"),
            state=values.get("ST"),
        )

    def attributes(self) -> dict[str, str]:
        """Return the values that the name has, by their keys, in canonical order."""
        pairs = ((attribute, getattr(self, field)) for attribute, field in _FIELDS.items())
        return {attribute: value for attribute, value in pairs if value is not None}

    def __str__(self) -> str:
        return ",".join(f"{attribute}={value}" for attribute, value in self.attributes().items())


@lru_cache(maxsize=4_096)
def peer_name(text: str) -> PeerName:
    """Return the canonical form of ``text``; raises `NameInvalid`, which says what to change."""
    return PeerName(str(X500Name.parse(text)))


def _split(text: str) -> dict[str, str]:
    if len(text) > NAME_CHARACTERS_MAX:
        what = f"has {len(text)} characters"
        raise NameInvalid("name", what, f"Use {NAME_CHARACTERS_MAX} at most")
    values: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        attribute = key.strip().upper()
        if not equals:
            what = f"has the part {part.strip()!r}, which is not of the form KEY=value"
            raise NameInvalid("name", what, "Write it like O=Bank A,L=London,C=GB")
        if attribute not in _FIELDS:
            known = ", ".join(_FIELDS)
            raise NameInvalid(attribute, "is no attribute of a legal name", f"Use some of {known}")
        if attribute in values:
            raise NameInvalid(attribute, "stands in the name twice", "Remove one of them")
        values[attribute] = value.strip(" ")
    return values


def _check(attribute: str, value: str) -> None:
    if attribute == "C":
        _check_country(value)
        return
    length_max = _CHARACTERS_MAX[attribute]
    if not value:
        raise NameInvalid(attribute, "is empty", f"Write it like {_example(attribute)}")
    if len(value) > length_max:
        raise NameInvalid(attribute, f"has {len(value)} characters", f"Use {length_max} at most")
    _check_spacing(attribute, value)
    _check_characters(attribute, value)
    if sum(character.isalpha() for character in value) < _LETTERS_MIN:
        what = f"is {value!r}, with fewer than {_LETTERS_MIN} letters"
        raise NameInvalid(attribute, what, "Use a longer name")


def _check_country(value: str) -> None:
    if value in _COUNTRIES:
        return
    meant = _COUNTRY_MISTAKES.get(value.upper(), value.upper())
    hint = f"Did you mean {meant}? " if meant in _COUNTRIES else ""
    what = f"is {value!r}, which is no ISO 3166 country code"
    raise NameInvalid("C", what, f"{hint}Use two upper-case letters, like GB")


def _check_spacing(attribute: str, value: str) -> None:
    if value != value.strip():
        raise NameInvalid(attribute, f"is {value!r}, with space around it", "Remove that space")
    if "  " in value:
        raise NameInvalid(attribute, f"is {value!r}, with a double space", "Use single spaces")


def _check_characters(attribute: str, value: str) -> None:
    forbidden = _FORBIDDEN_IN_LEGAL_NAME if attribute in _LEGAL_NAME else _FORBIDDEN
    for character in value:
        if character in forbidden or not _is_allowed(character):
            what = f"has the character {_describe(character)} in {value!r}"
            do = "Use Latin letters, digits, single spaces and simple punctuation"
            raise NameInvalid(attribute, what, do)
    normal = unicodedata.normalize("NFKC", value)
    if normal != value:
        raise NameInvalid(attribute, f"is {value!r}, not in Unicode's NFKC form", f"Use {normal!r}")


def _is_allowed(character: str) -> bool:
    """Tell whether the character is Latin, or common to all scripts and harmless."""
    code, category = ord(character), unicodedata.category(character)
    if category.startswith("L"):
        return unicodedata.name(character, "").startswith("LATIN ")
    if category == "Nd":
        return character.isascii()
    if category == "Mn":
        return _COMBINING_RANGE[0] <= code <= _COMBINING_RANGE[1]
    if category[0] in "PS":
        return any(first <= code <= last for first, last in _SYMBOL_RANGES)
    return character == " "


def _describe(character: str) -> str:
    return f"U+{ord(character):04X} ({unicodedata.name(character, 'unnamed')})"


def _example(attribute: str) -> str:
    values = {"O": "Bank A", "L": "London", "C": "GB", "OU": "Trading", "CN": "Desk 1"}
    return f"{attribute}={values.get(attribute, 'Essex')}"
