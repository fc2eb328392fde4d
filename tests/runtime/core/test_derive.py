"""Ids and chance of a flow, derived from its seed; the ids of flows."""

from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.core.derive import SEED_BYTES, derive, session_id
from runtime.engine.flow_ids import flow_id_at, key_of, new_key

SEED = bytes(range(SEED_BYTES))


def test_the_same_question_has_the_same_answer() -> None:
    assert derive(SEED, b"uuid", 3) == derive(SEED, b"uuid", 3)


def test_seed_label_and_number_all_count() -> None:
    values = {
        derive(SEED, b"uuid", 0),
        derive(SEED, b"uuid", 1),
        derive(SEED, b"rng", 0),
        derive(bytes(SEED_BYTES), b"uuid", 0),
        session_id(SEED, 0),
        session_id(SEED, 1),
    }

    assert len(values) == 6
    assert {len(value) for value in values} == {16}


def test_derived_values_never_change_from_version_to_version() -> None:
    # Breaks when running flows would get other session ids after an upgrade.
    assert session_id(SEED, 1).hex() == "e6cb122cdc761288796e698235098b57"


def test_flow_ids_sort_by_the_time_of_their_start() -> None:
    keys = [new_key(time, b"\xff" * 10) for time in (1, 2, 1_000, 1_767_225_600_000)]

    assert all(one < other for one, other in pairwise(keys))
    assert all(flow_id_at(one) < flow_id_at(other) for one, other in pairwise(keys))


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_flow_ids_are_uuids_of_version_7(time: int, chance: bytes) -> None:
    flow_id = flow_id_at(new_key(time, chance))

    assert UUID(flow_id).version == 7
    assert UUID(flow_id).int >> 80 == time
    assert flow_id_at(key_of(flow_id)) == flow_id


def test_what_is_no_flow_id_is_refused() -> None:
    with pytest.raises(ValueError):
        key_of("not an id")
