"""`Untrusted`: what came from a peer, to be handed over only through a check."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Untrusted(Generic[T]):
    """A value of the type asked for, whose content nobody has checked yet."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def unwrap(self, check: Callable[[T], U]) -> U:
        """Return what ``check`` makes of the value; it raises, or returns the value to use.

        The check may suspend. A `FlowException` that it raises reaches the peer if it escapes.
        """
        return check(self._value)

    def __repr__(self) -> str:
        return f"Untrusted({type(self._value).__name__})"
