"""Session messages and their bytes: round trip, hostile bytes, bounds, golden bytes."""

import contextlib
import json
from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.envelopes import (
    CONVERSATION_BYTES_MAX,
    ERROR_ENVELOPE_BYTES_MAX,
    KIND_CHARACTERS_MAX,
    NUMBER_MAX,
    REASON_CHARACTERS_MAX,
    Accept,
    Ack,
    Answer,
    AnyEnvelope,
    Data,
    End,
    Error,
    Gone,
    Open,
    Refuse,
    decode,
    encode,
)
from runtime.errors import BadMessage
from runtime.ids import ErrorId, SessionId
from runtime.limits import NAME_CHARACTERS_MAX
from tests.runtime.core.samples import ENVELOPES, ERROR_ID, OURS, PEERS

GOLDEN: Final = Path(__file__).parents[2] / "golden" / "envelopes.json"
LONG_NAME: Final = "n" * (NAME_CHARACTERS_MAX + 1)


def test_there_is_a_sample_of_every_kind() -> None:
    assert {type(envelope) for envelope in ENVELOPES.values()} == set(get_args(AnyEnvelope))


@pytest.mark.parametrize("name", ENVELOPES)
def test_what_was_encoded_is_decoded(name: str) -> None:
    envelope = ENVELOPES[name]

    assert decode(encode(envelope)) == envelope


@pytest.mark.parametrize("name", ENVELOPES)
def test_the_bytes_of_the_first_version_are_still_written_and_read(name: str) -> None:
    # Breaks when a field is moved, removed or renamed, or a kind gets another number.
    golden = json.loads(GOLDEN.read_text())

    assert encode(ENVELOPES[name]).hex() == golden[name]
    assert decode(bytes.fromhex(golden[name])) == ENVELOPES[name]


def test_a_field_of_a_later_version_is_ignored() -> None:
    # Breaks when a node can't talk to one that is newer.
    later = msgspec.msgpack.decode(encode(ENVELOPES["open"]))
    later += [b"p" * 16, "and more"]

    assert decode(msgspec.msgpack.encode(later[:9])) == ENVELOPES["open"]
    read = decode(msgspec.msgpack.encode(later))
    assert isinstance(read, Open)
    assert read.beside == b"p" * 16


@pytest.mark.parametrize(
    ("name", "number"),
    [("open", 0), ("accept", 0), ("refuse", 0), ("data", 7), ("error", 8), ("end", 9)],
)
def test_each_message_has_a_number_in_its_direction(name: str, number: int) -> None:
    envelope = ENVELOPES[name]

    assert not isinstance(envelope, Answer)
    assert envelope.number == number


@given(st.binary(max_size=80))
def test_any_bytes_are_an_envelope_or_a_bad_message(data: bytes) -> None:
    with contextlib.suppress(BadMessage):
        decode(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text(),
        lambda inner: st.lists(inner, max_size=10),
        max_leaves=12,
    )
)
def test_any_msgpack_is_an_envelope_or_a_bad_message(value: object) -> None:
    with contextlib.suppress(BadMessage):
        decode(msgspec.msgpack.encode(value))


HOSTILE: Final[dict[str, AnyEnvelope]] = {
    "short session id": Data(SessionId(b"short"), 1, "str", b""),
    "empty session id": End(SessionId(b""), 1),
    "long session id": Ack(SessionId(b"x" * 17), 1),
    "short sender in accept": Accept(OURS, SessionId(b""), 1, "", ""),
    "short sender in open": Open(SessionId(b""), "f", 1, "", "", b"", "", b""),
    "short session beside an open": Open(OURS, "f", 1, "", "", b"", "", b"", SessionId(b"x")),
    "short sender in refuse": Refuse(OURS, SessionId(b""), "", ERROR_ID),
    "negative number": Data(OURS, -1, "str", b""),
    "negative acknowledgement": Ack(OURS, -1),
    "huge number": End(OURS, NUMBER_MAX + 1),
    "huge number of an error": Error(OURS, 2**63, None, ERROR_ID),
    "huge acknowledgement": Ack(OURS, 2**63),
    "nothing that is gone": Gone(OURS, SessionId(b""), ERROR_ID),
    "short session of what is gone": Gone(SessionId(b"short"), PEERS, ERROR_ID),
    "long error id of what is gone": Gone(OURS, PEERS, ErrorId(LONG_NAME)),
    "long flow name": Open(OURS, LONG_NAME, 1, "", "", b"", "", b""),
    "long app": Open(OURS, "f", 1, LONG_NAME, "", b"", "", b""),
    "long app version": Accept(OURS, PEERS, 1, "", LONG_NAME),
    "long kind": Data(OURS, 1, "k" * (KIND_CHARACTERS_MAX + 1), b""),
    "long kind in open": Open(OURS, "f", 1, "", "", b"", "k" * (KIND_CHARACTERS_MAX + 1), b""),
    "long conversation": Open(OURS, "f", 1, "", "", bytes(CONVERSATION_BYTES_MAX + 1), "", b""),
    "negative version": Open(OURS, "f", -1, "", "", b"", "", b""),
    "huge version": Accept(OURS, PEERS, 2**63, "", ""),
    "long error id": Refuse(OURS, PEERS, "", ErrorId(LONG_NAME)),
    "long reason": Refuse(OURS, PEERS, "r" * (REASON_CHARACTERS_MAX + 1), ERROR_ID),
    "large error": Error(OURS, 1, bytes(ERROR_ENVELOPE_BYTES_MAX + 1), ERROR_ID),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_out_of_bounds_is_refused(name: str) -> None:
    # Breaks when something of a peer reaches the keys of the store or the journal unbounded.
    with pytest.raises(BadMessage):
        decode(encode(HOSTILE[name]))


def test_one_in_our_own_outbox_may_have_no_address_yet() -> None:
    kept = Data(SessionId(b""), 1, "str", b"")

    assert decode(encode(kept), is_addressed=False) == kept


def test_text_that_is_no_utf8_is_a_bad_message() -> None:
    body = encode(Refuse(OURS, PEERS, "reason", ERROR_ID))

    with pytest.raises(BadMessage, match="not an envelope"):
        decode(body.replace(b"reason", b"\xff" * 6))
