"""Frames: what is packed comes out again, and nothing else does."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.frames import (
    ENVELOPE_BYTES_MAX,
    Backlog,
    MalformedFrame,
    batches,
    pack,
    unpack,
)
from runtime.limits import FRAME_BYTES_MAX, FRAME_BYTES_TARGET, FRAME_ENVELOPES_MAX

ENVELOPES = st.lists(st.binary(max_size=50), min_size=1, max_size=30)


def test_a_frame_is_a_version_and_an_array_of_envelopes() -> None:
    """The layout on the wire. A change of it needs another version."""
    assert pack([b"a", b"bc"]) == b"\x01\x92\xc4\x01a\xc4\x02bc"


@given(ENVELOPES)
def test_what_is_packed_comes_out_again(envelopes: list[bytes]) -> None:
    assert unpack(bytes(pack(envelopes))) == envelopes


@given(st.binary(max_size=60))
def test_any_other_bytes_are_malformed(content: bytes) -> None:
    try:
        envelopes = unpack(b"\x01" + content)
    except MalformedFrame:
        return

    assert unpack(pack(envelopes)) == envelopes


@given(ENVELOPES, st.data())
def test_a_torn_frame_is_malformed(envelopes: list[bytes], data: st.DataObject) -> None:
    frame = bytes(pack(envelopes))
    size = data.draw(st.integers(min_value=0, max_value=len(frame) - 1))

    with pytest.raises(MalformedFrame):
        unpack(frame[:size])


def test_the_biggest_envelope_fills_a_frame() -> None:
    assert len(pack([bytes(ENVELOPE_BYTES_MAX)])) <= FRAME_BYTES_MAX


def test_more_than_a_frame_may_have_is_not_looked_at() -> None:
    with pytest.raises(MalformedFrame, match="at most"):
        unpack(bytes(FRAME_BYTES_MAX + 1))


def test_an_announced_array_is_bounded_before_it_is_decoded() -> None:
    """Were the array decoded first, this would take a hundred milliseconds each time."""
    frame = b"\x01\xdd\x00\x98\x96\x80" + b"\xc4\x00" * 5_000_000
    started_at = time.thread_time()

    for _ in range(100):
        with pytest.raises(MalformedFrame, match="not an array of envelopes"):
            unpack(frame)

    assert time.thread_time() - started_at < 0.1


@given(
    st.lists(
        st.sampled_from([0, 1, 1_000, FRAME_BYTES_TARGET // 2, FRAME_BYTES_TARGET * 2]).map(bytes),
        max_size=12,
    )
)
def test_batches_keep_everything_in_order_and_fit_their_frames(envelopes: list[bytes]) -> None:
    portions = list(batches(envelopes))

    assert [envelope for portion in portions for envelope in portion] == envelopes
    for portion in portions:
        assert len(portion) == 1 or len(pack(portion)) <= FRAME_BYTES_TARGET + 16


def test_batches_are_bounded_in_number() -> None:
    counts = [len(portion) for portion in batches([b""] * (2 * FRAME_ENVELOPES_MAX + 1))]

    assert counts == [FRAME_ENVELOPES_MAX, FRAME_ENVELOPES_MAX, 1]


def test_no_envelopes_make_no_batch() -> None:
    assert list(batches([])) == []


def _drained(backlog: Backlog) -> list[list[bytes]]:
    frames = []
    while backlog:
        frames.append(backlog.first())
        backlog.pop()
    return frames


def test_small_neighbours_share_a_frame() -> None:
    backlog = Backlog(bytes_max=FRAME_BYTES_MAX)
    for number in range(100):
        backlog.add([b"%d" % number, b"."])

    frames = _drained(backlog)

    assert len(frames) == 1
    assert len(frames[0]) == 200


@pytest.mark.parametrize(
    ("count", "size"), [(FRAME_ENVELOPES_MAX // 2 + 1, 0), (2, FRAME_BYTES_TARGET // 4)]
)
def test_neighbours_that_fill_a_frame_do_not_share_one(count: int, size: int) -> None:
    backlog = Backlog(bytes_max=FRAME_BYTES_MAX)
    backlog.add([bytes(size)] * count)
    backlog.add([bytes(size)] * count)

    assert [len(frame) for frame in _drained(backlog)] == [count, count]


def test_a_full_backlog_refuses_the_newest() -> None:
    backlog = Backlog(bytes_max=FRAME_BYTES_MAX)
    large = FRAME_BYTES_MAX // 3

    refused = [backlog.add([bytes([number]) * large]) for number in range(4)]

    assert refused == [0, 0, 1, 1]
    assert [frame[0][0] for frame in _drained(backlog)] == [0, 1]


def test_a_backlog_that_was_emptied_has_room_again() -> None:
    backlog = Backlog(bytes_max=FRAME_BYTES_MAX)
    large = bytes(FRAME_BYTES_MAX // 2)

    for _ in range(5):
        assert backlog.add([large, b"small"]) == 0
        _drained(backlog)
        assert backlog.add([large, b"small"]) == 0
        assert backlog.clear() == 2
        assert not backlog


@given(st.lists(ENVELOPES, max_size=20))
def test_a_backlog_keeps_the_order(portions: list[list[bytes]]) -> None:
    backlog = Backlog(bytes_max=FRAME_BYTES_MAX)
    for portion in portions:
        backlog.add(portion)

    frames = _drained(backlog)

    assert [one for frame in frames for one in frame] == [
        one for portion in portions for one in portion
    ]
