"""Which flow may be why a node keeps dying: the one that was running at each end, and got nowhere.

A replay leads code to the same place again. So a flow that froze or crashed its node does it at
each start, and its journal does not grow between. A flow that gets on between two ends of the
process is not suspected: it may just be busy while somebody uses `kill -9`.
"""

from runtime.ports import Suspicion


def after_end(before: Suspicion | None, running: bytes | None, events: int) -> Suspicion | None:
    """Return whom to suspect after an end at which ``running`` had the loop; None: nobody."""
    if running is None:
        return None
    if before is not None and (before.key, before.events) == (running, events):
        return Suspicion(running, before.deaths + 1, events)
    return Suspicion(running, 1, events)
