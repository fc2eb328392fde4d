"""The requests that a notary has taken and not answered, and how long one more would wait.

From each answer is learnt how long it took for how many requests, its own and those that were
answered in the meantime. The time for one is the slope of the line through these points, from the
origin, so that long queues tell more than lone requests, whose time is mostly that of the disk.
"""

from typing import Final, NamedTuple

from runtime.ids import FlowId

# Who would wait longer is sent away, and waits at home: there it costs no memory of the notary.
QUEUE_SECONDS_MAX: Final = 10.0

# Each has a greenlet, whatever the estimate says.
QUEUE_LENGTH_MAX: Final = 100_000

# For so long a request is counted whose client has to send more; it may never do so.
CLIENT_MS_MAX: Final = 10_000

WAIT_SECONDS_MIN: Final = 1.0
WAIT_SECONDS_MAX: Final = 600.0

# What is believed before anything was seen, as if one hundred requests had taken this long.
_FIRST_MS_PER_REQUEST: Final = 1.0
_FIRST_WEIGHT: Final = 100.0**2

# After so many answers, what was learnt from them counts half.
_ANSWERS_REMEMBERED: Final = 1_000


class _Taken(NamedTuple):
    """When a request was taken, and how many had been answered by then."""

    at_ms: int
    answered: int


class NotaryQueue:
    """All that is under way at a notary; in memory only, flows that come back are taken again."""

    def __init__(
        self, *, seconds_max: float = QUEUE_SECONDS_MAX, length_max: int = QUEUE_LENGTH_MAX
    ) -> None:
        self.sent_away = 0
        self._seconds_max = seconds_max
        self._length_max = length_max
        self._under_way: dict[FlowId, _Taken] = {}
        # Since when they wait for their clients, the oldest first.
        self._at_clients: dict[FlowId, int] = {}
        self._answered = 0
        self._weighed_ms = 0.0
        self._weight = 0.0
        self._learnt_from = 0

    def __len__(self) -> int:
        return len(self._under_way) + len(self._at_clients)

    @property
    def estimate_seconds(self) -> float:
        """How long a request would wait that came now."""
        weighed_ms = _FIRST_MS_PER_REQUEST * _FIRST_WEIGHT + self._weighed_ms
        return len(self) * weighed_ms / (_FIRST_WEIGHT + self._weight) / 1000

    def send_away(self, now_ms: int) -> float:
        """Return after how many seconds a request shall come again, 0 if it is to be taken now."""
        self._pass_over_those_of_slow_clients(now_ms)
        estimate = self.estimate_seconds
        if estimate <= self._seconds_max and len(self) < self._length_max:
            return 0.0
        self.sent_away += 1
        return min(max(estimate, WAIT_SECONDS_MIN), WAIT_SECONDS_MAX)

    def take(self, flow_id: FlowId, now_ms: int) -> None:
        """Count a request that nothing but this notary's own work keeps from its answer."""
        self._at_clients.pop(flow_id, None)
        self._under_way.setdefault(flow_id, _Taken(now_ms, self._answered))

    def wait_for_client(self, flow_id: FlowId, now_ms: int) -> None:
        """Count a request that can't be answered before its client sends more, but not for ever."""
        del self._under_way[flow_id]
        self._at_clients[flow_id] = now_ms

    def answered(self, flow_id: FlowId, now_ms: int) -> None:
        """Count it no more, and learn from it."""
        taken = self._under_way.pop(flow_id, None)
        if taken is None:
            return
        self._answered += 1
        if self._learnt_from == _ANSWERS_REMEMBERED:
            self._weighed_ms, self._weight, self._learnt_from = (
                self._weighed_ms / 2,
                self._weight / 2,
                self._learnt_from // 2,
            )
        requests = self._answered - taken.answered
        # One request that took very long must not close the notary for longer than a wait.
        waited_ms = min(now_ms - taken.at_ms, WAIT_SECONDS_MAX * 1000)
        self._weighed_ms += waited_ms * requests
        self._weight += requests**2
        self._learnt_from += 1

    def leave(self, flow_id: FlowId) -> None:
        """Count it no more: it ended without an answer."""
        self._under_way.pop(flow_id, None)
        self._at_clients.pop(flow_id, None)

    def _pass_over_those_of_slow_clients(self, now_ms: int) -> None:
        while self._at_clients:
            flow_id, since_ms = next(iter(self._at_clients.items()))
            if now_ms - since_ms < CLIENT_MS_MAX:
                return
            del self._at_clients[flow_id]
