"""Legal names: one canonical text each, and errors that say what to change."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import MisuseError, NameInvalid
from runtime.names import NAME_CHARACTERS_MAX, X500Name, peer_name

WORDS = st.from_regex(r"[A-Za-z]{2,8}( [A-Za-z0-9&.()-]{1,8}){0,3}", fullmatch=True)
NAMES = st.builds(
    X500Name,
    organisation=WORDS,
    locality=WORDS,
    country=st.sampled_from(["GB", "DE", "US", "ZW"]),
    organisation_unit=st.none() | WORDS,
    common_name=st.none() | WORDS,
    state=st.none() | WORDS,
)


def test_canonical_text_has_a_fixed_order_and_no_spare_space() -> None:
    text = " c=GB ,l = London, O= Bank A , ou=Trading,CN=Desk 1,ST=Greater London "

    name = peer_name(text)

    assert name == "CN=Desk 1,OU=Trading,O=Bank A,L=London,ST=Greater London,C=GB"


def test_name_has_its_attributes_as_fields() -> None:
    name = X500Name.parse("O=Bank A,L=London,C=GB")

    assert (name.organisation, name.locality, name.country) == ("Bank A", "London", "GB")
    assert (name.organisation_unit, name.common_name, name.state) == (None, None, None)


@given(name=NAMES, seed=st.integers())
def test_any_order_and_spacing_parses_to_the_same_name(name: X500Name, seed: int) -> None:
    chance = random.Random(seed)
    parts = str(name).split(",")
    chance.shuffle(parts)
    spaced = [f"{' ' * chance.randrange(3)}{part.replace('=', ' = ')} " for part in parts]

    parsed = X500Name.parse(",".join(spaced))

    assert parsed == name
    assert X500Name.parse(str(parsed)) == parsed


@given(text=st.text(max_size=60))
def test_any_text_parses_or_is_refused_with_a_name_error(text: str) -> None:
    try:
        name = peer_name(text)
    except NameInvalid:
        return

    assert peer_name(name) == name


@given(value=st.text(min_size=1, max_size=12))
def test_an_accepted_value_is_normal_and_needs_no_escaping(value: str) -> None:
    try:
        name = X500Name(organisation=value, locality="London", country="GB")
    except NameInvalid:
        return

    assert unicodedata.normalize("NFKC", name.organisation) == value
    assert X500Name.parse(str(name)) == name


@pytest.mark.parametrize(
    ("text", "attribute", "words"),
    [
        ("L=London,C=GB", "O", "is missing. Add O=Bank A"),
        ("O=Bank A,C=GB", "L", "is missing. Add L=London"),
        ("O=Bank A,L=London", "C", "is missing. Add C=GB"),
        ("", "name", "which is not of the form KEY=value"),
        ("O=Bank A,London,C=GB", "name", "'London'"),
        ("O=Bank A,L=London,C=GB,S=Essex", "S", "is no attribute of a legal name"),
        ("O=Bank A,O=Bank B,L=London,C=GB", "O", "stands in the name twice"),
        ("O=,L=London,C=GB", "O", "is empty"),
        ("O=Bank A,L=London,C=UK", "C", "Did you mean GB?"),
        ("O=Bank A,L=London,C=gb", "C", "Did you mean GB?"),
        ("O=Bank A,L=London,C=XX", "C", "no ISO 3166 country code. Use two"),
        ("O=Bank  A,L=London,C=GB", "O", "double space"),
        ("O=\tBank A,L=London,C=GB", "O", "space around it"),
        ("O=Bank\x00A,L=London,C=GB", "O", "U+0000"),
        ("O=Bank 'A',L=London,C=GB", "O", "U+0027 (APOSTROPHE)"),
        ("O=Bank $,L=London,C=GB", "O", "U+0024"),
        ("CN=a=b,O=Bank A,L=London,C=GB", "CN", "U+003D (EQUALS SIGN)"),
        ('O="Bank A",L=London,C=GB', "O", "U+0022"),
        ("O=Bаnk,L=London,C=GB", "O", "CYRILLIC SMALL LETTER A"),  # noqa: RUF001
        ("O=Bank\u202eA,L=London,C=GB", "O", "RIGHT-TO-LEFT OVERRIDE"),
        ("O=Bank\u00a0A,L=London,C=GB", "O", "NO-BREAK SPACE"),
        ("O=Bank \u0661,L=London,C=GB", "O", "ARABIC-INDIC DIGIT ONE"),
        ("O=Bank \U0001f600,L=London,C=GB", "O", "GRINNING FACE"),
        ("O=Cafe\u0301,L=London,C=GB", "O", "NFKC form. Use 'Café'"),
        ("O=7 7,L=London,C=GB", "O", "fewer than 2 letters"),
        ("O=Bank A,L=12,C=GB", "L", "fewer than 2 letters"),
        (f"O={'a' * 129},L=London,C=GB", "O", "has 129 characters. Use 128 at most"),
        (f"O=Bank A,L={'a' * 65},C=GB", "L", "has 65 characters. Use 64 at most"),
        ("O=" + "a" * NAME_CHARACTERS_MAX, "name", "has 514 characters"),
    ],
)
def test_a_wrong_name_is_refused_with_its_attribute_and_a_remedy(
    text: str, attribute: str, words: str
) -> None:
    with pytest.raises(NameInvalid) as caught:
        peer_name(text)

    assert caught.value.attribute == attribute
    assert words in str(caught.value)
    assert isinstance(caught.value, MisuseError)


@pytest.mark.parametrize(
    "text",
    [
        "O=Société Générale,L=Paris,C=FR",
        "O=Ernst & Young (1849) - Co.,L=St. John's,C=AG",
        "O=Bank – A/B,L=Zürich,C=CH",  # noqa: RUF001
    ],
)
def test_latin_names_with_simple_punctuation_are_accepted(text: str) -> None:
    assert peer_name(text) == text


def test_the_longest_name_fits_the_bound() -> None:
    longest = X500Name(
        organisation="a" * 128,
        locality="a" * 64,
        country="GB",
        organisation_unit="a" * 64,
        common_name="a" * 64,
        state="a" * 64,
    )

    assert X500Name.parse(str(longest)) == longest
