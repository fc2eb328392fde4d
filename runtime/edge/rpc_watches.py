"""Who watches which flow over the RPC, and what is new to tell them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import gevent.event

from runtime.ids import UserName
from runtime.operations import FlowWatch


class Caller(NamedTuple):
    """Where an answer goes: the ROUTER's name for the client's connection, and its number."""

    client: bytes
    number: bytes


@dataclass(slots=True, kw_only=True)
class Watch:
    """One client watches one flow."""

    user: UserName
    flow_watch: FlowWatch | None = None
    is_closed: bool = False

    def close(self) -> None:
        """Stop the node from calling back."""
        self.is_closed = True
        if self.flow_watch is not None:
            self.flow_watch.close()


@dataclass(slots=True)
class Watches:
    """All watches of all clients, and those with something new to send."""

    by_client: dict[bytes, dict[bytes, Watch]] = field(default_factory=dict)
    dirty: dict[Caller, Watch] = field(default_factory=dict)
    count_of: Counter[UserName] = field(default_factory=Counter)
    is_dirty: gevent.event.Event = field(default_factory=gevent.event.Event)

    def add(self, caller: Caller, watch: Watch) -> None:
        """Remember an open watch."""
        self.by_client.setdefault(caller.client, {})[caller.number] = watch
        self.count_of[watch.user] += 1

    def mark(self, caller: Caller, watch: Watch) -> None:
        """Have the watch sent soon."""
        if not watch.is_closed:
            self.dirty[caller] = watch
            self.is_dirty.set()

    def forget(self, caller: Caller) -> None:
        """Close one watch, if it is there."""
        of_client = self.by_client.get(caller.client, {})
        watch = of_client.pop(caller.number, None)
        if watch is not None:
            watch.close()
            self.count_of[watch.user] -= 1
            if not self.count_of[watch.user]:
                del self.count_of[watch.user]
        self.dirty.pop(caller, None)
        if not of_client:
            self.by_client.pop(caller.client, None)

    def forget_client(self, client: bytes) -> None:
        """Close all watches of a client."""
        for number in list(self.by_client.get(client, ())):
            self.forget(Caller(client, number))
