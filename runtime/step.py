"""`@step`: a call with outside effects, whose outcome is journaled."""

import functools
import logging
from collections.abc import Callable
from enum import Enum
from typing import Final, Generic, ParamSpec, TypeVar, overload

import msgspec
from greenlet import getcurrent

from runtime import checks
from runtime.driver import FlowGreenlet, driver_or_none
from runtime.errors import ArgumentInvalid, NotInFlow
from runtime.limits import WAIT_SECONDS_MAX
from runtime.signatures import Arguments

log = logging.getLogger("sennit.flow")

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


ATTEMPTS_MAX: Final = 1_000_000_000
FACTOR_MAX: Final = 1_000_000.0
_GROWTHS_MAX: Final = 50


class Kind(Enum):
    """What a crash may do to a step."""

    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"
    PURE = "pure"


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how fast a step is tried again. Delays are in seconds."""

    attempts: int = 3
    first_delay: float = 1.0
    factor: float = 2.0
    ceiling: float = 120.0
    jitter: bool = True
    final: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        longest = WAIT_SECONDS_MAX
        checks.number(self.attempts, "Retry(attempts=...)", least=1, most=ATTEMPTS_MAX)
        checks.real(self.first_delay, "Retry(first_delay=...)", least=0, most=longest)
        checks.real(self.factor, "Retry(factor=...)", least=1, most=FACTOR_MAX)
        checks.real(self.ceiling, "Retry(ceiling=...)", least=0, most=longest)
        checks.truth(self.jitter, "Retry(jitter=...)")
        wanted = "a tuple of classes of exceptions, like (ValueError,)"
        checks.instance(self.final, tuple, "Retry(final=...)", wanted)
        for cls in self.final:
            checks.exception_class(cls, "Retry(final=...)", wanted)

    def delay_ms(self, attempt: int, chance: float) -> int:
        """Return the delay after failed ``attempt`` (from 1); ``chance`` is in [0, 1)."""
        # Beyond that many doublings each delay is at its ceiling, and a float at its end.
        growth = self.factor ** min(attempt - 1, _GROWTHS_MAX)
        delay = min(self.ceiling, self.first_delay * growth)
        if self.jitter:
            delay *= 0.5 + chance / 2
        return round(delay * 1000)


ONCE: Final = Retry(attempts=1)


class StepFunction(Generic[P, R_co]):
    """What `step` knows of a function that it has marked."""

    def __init__(
        self,
        function: Callable[P, R_co],
        *,
        name: str,
        kind: Kind,
        retry: Retry,
        in_thread: bool,
        is_loose: bool,
    ) -> None:
        checks.instance(retry, Retry, "@step(retry=...)", "a Retry, like Retry(attempts=5)")
        self.function = function
        self.name = checks.name(name, "@step(name=...)")
        self.kind = kind
        self.retry = retry
        self.in_thread = checks.truth(in_thread, "@step(thread=...)")
        self.is_loose = checks.truth(is_loose, "@step(loose=...)")
        self.arguments = Arguments(function)
        self._is_told = False
        self.is_simple = kind is not Kind.AT_MOST_ONCE and not in_thread and self.arguments.is_plain
        """Whether a first attempt is no more than a call of the function."""

    def ran_outside(self) -> None:
        """Say once, of each step, that a call outside of a flow is a plain call."""
        if self._is_told or driver_or_none() is not None:
            return
        self._is_told = True
        log.warning(
            "step %s runs outside of a flow, as a plain function: nothing is recorded, and it is "
            "not tried again. Call it in a flow, or its plain function (__wrapped__) in a test",
            self.name,
        )

    def as_function(self) -> Callable[P, R_co]:
        """Return what stands in the place of the function.

        It is a function of Python and no object with ``__call__``, because the interpreter calls
        that from C, and the C stack is copied at each switch of a flow's greenlet.
        """
        function, arguments = self.function, self.arguments
        arity = len(arguments.parameters) if arguments.is_plain else -1

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R_co:
            current = getcurrent()
            if not isinstance(current, FlowGreenlet):
                self.ran_outside()
                return function(*args, **kwargs)
            values: tuple[object, ...] = args
            if kwargs or len(args) != arity:
                values = arguments.bind(args, kwargs)
            return current.driver.run_step(self, values)  # type: ignore[return-value]

        setattr(call, checks.MARKED_BY, "@step")
        return call


@overload
def step(function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def step(
    *,
    name: str | None = None,
    kind: str = "at_least_once",
    retry: Retry = ONCE,
    thread: bool = False,
    loose: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def step(
    function: Callable[P, R] | None = None,
    *,
    name: str | None = None,
    kind: str = "at_least_once",
    retry: Retry = ONCE,
    thread: bool = False,
    loose: bool = False,
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function with outside effects; called in a flow, its outcome is journaled.

    It may block on gevent I/O, or, with ``thread=True``, on anything, in a native thread; other
    flows go on meanwhile. It starts only when all that the flow consumed before is durable. Its
    arguments are compared at replay, unless it is ``loose``. They and the result must be encodable.

    Kinds: ``at_least_once``: a crash in the middle runs it again, with the same `step_id`;
    ``at_most_once``: its intent is durable first; a crash in the middle raises `StepInterrupted`;
    ``pure``: it has no outside effect, so it waits for nothing and its commit is shared with later
    ones. An exception counts as an attempt; when ``retry`` is used up, or for a ``final`` class, it
    is raised into the flow, and again at every replay.
    """

    def mark(marked: Callable[P, R]) -> Callable[P, R]:
        own_name = checks.function(marked, "@step", named=name)
        return StepFunction(
            marked,
            name=own_name if name is None else name,
            kind=_kind(kind),
            retry=retry,
            in_thread=thread,
            is_loose=loose,
        ).as_function()

    return mark if function is None else mark(function)


def _kind(kind: object) -> Kind:
    for known in Kind:
        if kind is known or (isinstance(kind, str) and kind == known.value):
            return known
    do = f"Use one of: {', '.join(known.value for known in Kind)}"
    raise ArgumentInvalid("@step(kind=...)", f"is {checks.shown(kind)}", do)


def step_id() -> str:
    """Return the id of the step that is running: the same at every attempt and after restarts."""
    current = driver_or_none()
    if current is None:
        raise NotInFlow("step_id() has a meaning only while a step runs in a flow")
    return current.step_id()
