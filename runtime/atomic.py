"""`@atomic`: work on the node's own store, exactly once, in the commit of its flow."""

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from runtime import checks
from runtime.driver import driver
from runtime.ports import Space
from runtime.signatures import Arguments

if TYPE_CHECKING:
    from runtime.host import Host

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class StoreTxn(Protocol):
    """Reads and writes of one atomic function. Reads see all earlier writes, its own too."""

    @property
    def host(self) -> "Host":
        """The node's services."""

    def get(self, space: Space, key: bytes) -> bytes | None:
        """Return the value of ``key``."""

    def scan(self, space: Space, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs with ``start <= key < end`` in order."""

    def put(self, space: Space, key: bytes, value: bytes) -> None:
        """Write ``value``."""

    def delete(self, space: Space, key: bytes) -> None:
        """Remove ``key``."""

    def on_durable(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` from the loop once the writes are durable; never if discarded."""


class AtomicFunction(Generic[P, R_co]):
    """A function marked `@atomic`; see there."""

    __marked_by__ = "@atomic"

    def __init__(self, function: Callable[Concatenate[StoreTxn, P], R_co], name: str) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = checks.name(name, "the name of an @atomic function")
        self.arguments = Arguments(function, skip=1)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run in the commit of the calling flow; raises `NotInFlow` outside of one."""
        current = driver(f"{self.name} (an atomic function; outside a flow use host.run_atomic)")
        bound = self.arguments.bind(args, kwargs)
        return current.run_atomic(self, bound)  # type: ignore[return-value]


def atomic(function: Callable[Concatenate[StoreTxn, P], R]) -> AtomicFunction[P, R]:
    """Mark ``f(txn, *args)`` as a change of the node's store; call it as ``f(*args)`` in a flow.

    It runs at once, without suspending, and must not block. Its writes and the journal's record of
    its result become durable in one commit, so it happens exactly once. A `FlowException` that it
    raises discards its writes and is journaled as its outcome; any other error discards them and
    goes to the hospital.
    """
    own_name = checks.function(function, "@atomic")
    checks.no_method(function, "@atomic")
    return AtomicFunction(function, own_name)
