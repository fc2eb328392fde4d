"""Which flow is suspected of ending its node, from one end of the process to the next."""

import pytest

from runtime.core.suspicion import after_end
from runtime.ports import Suspicion

ONE = bytes(15) + b"1"
TWO = bytes(15) + b"2"


@pytest.mark.parametrize(
    ("before", "running", "events", "expected"),
    [
        (None, None, 0, None),
        (None, ONE, 2, Suspicion(ONE, 1, 2)),
        (Suspicion(ONE, 1, 2), ONE, 2, Suspicion(ONE, 2, 2)),
        # It got on in between.
        (Suspicion(ONE, 2, 2), ONE, 3, Suspicion(ONE, 1, 3)),
        # Another one, or nobody, was running: not in a row any more.
        (Suspicion(ONE, 2, 2), TWO, 2, Suspicion(TWO, 1, 2)),
        (Suspicion(ONE, 2, 2), None, 0, None),
    ],
)
def test_a_flow_is_suspected_that_ran_at_each_end_and_got_nowhere(
    before: Suspicion | None, running: bytes | None, events: int, expected: Suspicion | None
) -> None:
    assert after_end(before, running, events) == expected
