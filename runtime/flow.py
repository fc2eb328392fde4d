"""`@flow` and `@responder`: functions that a node can start, and their names on the wire."""

import functools
import inspect
from collections.abc import Callable, Iterable
from types import CellType, FunctionType, ModuleType
from typing import Final, Generic, ParamSpec, TypeVar, cast, overload

from runtime import checks
from runtime.driver import driver_or_none
from runtime.errors import ArgumentInvalid, ConfigurationError, NotInFlow, UnknownFlow
from runtime.progress_tree import LABEL_CHARACTERS_MAX
from runtime.session import Session
from runtime.signatures import Arguments

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Flow(Generic[P, R_co]):
    """A function marked `@flow`; see there."""

    __marked_by__ = "@flow"

    def __init__(
        self,
        function: Callable[P, R_co],
        *,
        name: str,
        version: int,
        labels: Iterable[str],
        app: str,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = checks.name(name, "@flow(name=...)")
        self.version = checks.version(version, "@flow(version=...)")
        self.labels = _labels(labels, "@flow(progress=...)")
        self.app = checks.name(app, "the app of a @flow")
        self.arguments = Arguments(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run as an initiating sub-flow, inline, with a protocol and sessions of its own."""
        current = driver_or_none()
        if current is None:
            raise NotInFlow(
                f"{self.name} is a flow: start it with node.start_flow({self.__name__}, ...), "  # type: ignore[attr-defined]
                "or call it from another flow"
            )
        bound = self.arguments.bind(args, kwargs)
        return current.run_subflow(self, bound)  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"<flow {self.name} version {self.version}>"


class Responder:
    """A function marked `@responder`; see there."""

    __marked_by__ = "@responder"

    def __init__(
        self,
        function: Callable[[Session], object],
        *,
        answers: str,
        version: int,
        labels: Iterable[str],
    ) -> None:
        self.__doc__ = function.__doc__
        self.function = function
        self.answers = checks.name(answers, "@responder(...)")
        self.version = checks.version(version, "@responder(version=...)")
        self.labels = _labels(labels, "@responder(progress=...)")
        self.name = checks.name(checks.function(function, "@responder"), "a responder's name")
        checks.no_method(function, "@responder")
        try:
            inspect.signature(function).bind(None)
        except TypeError:
            raise ArgumentInvalid(
                "@responder",
                f"marks {self.name}, which can't be called with a session",
                "Give it one parameter: def answer(session: Session) -> None",
            ) from None
        self.app = checks.name(_app_of(function), "the app of a @responder")
        self.arguments = Arguments(function, skip=1)

    def __repr__(self) -> str:
        return f"<responder {self.name} to {self.answers}>"


@overload
def flow(function: Callable[P, R]) -> Flow[P, R]: ...
@overload
def flow(
    *, name: str | None = None, version: int = 1, progress: Iterable[str] = ()
) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def flow(
    function: Callable[P, R] | None = None,
    *,
    name: str | None = None,
    version: int = 1,
    progress: Iterable[str] = (),
) -> Flow[P, R] | Callable[[Callable[P, R]], Flow[P, R]]:
    """Make a function startable as a flow and give its sessions a protocol name and version.

    ``name`` defaults to module and qualified name. ``progress`` lists the labels that the flow will
    pass to `progress`, so that those to come can be shown. Arguments and result must be encodable.
    """

    def mark(marked: Callable[P, R]) -> Flow[P, R]:
        own_name = checks.function(marked, "@flow", named=name)
        checks.no_method(marked, "@flow")
        return Flow(
            marked,
            name=own_name if name is None else name,
            version=version,
            labels=progress,
            app=_app_of(marked),
        )

    return mark if function is None else mark(function)


def responder(
    answers: "Flow[..., object] | str", *, version: int | None = None, progress: Iterable[str] = ()
) -> Callable[[Callable[[Session], object]], Responder]:
    """Make a function the responder of a flow: a node starts it when a peer opens a session to it.

    ``answers`` is the flow, or its wire name where the flow itself is not at hand.
    """
    if not isinstance(answers, Flow):
        checks.instance(answers, str, "@responder(...)", "the flow that it answers, or its name")
    wire_name = answers if isinstance(answers, str) else answers.name
    of_flow = 1 if isinstance(answers, str) else answers.version

    def mark(marked: Callable[[Session], object]) -> Responder:
        return Responder(
            marked,
            answers=wire_name,
            version=of_flow if version is None else version,
            labels=progress,
        )

    return mark


def _labels(progress: Iterable[str], argument: str) -> tuple[str, ...]:
    return checks.labels(progress, argument, characters_max=LABEL_CHARACTERS_MAX)


def _app_of(function: Callable[..., object]) -> str:
    return checks.module_of(function).partition(".")[0]


def _is_same(one: object, other: object) -> bool:
    """Tell whether two functions are of the same lines and would do the same.

    A module that is loaded twice has each of its functions twice. A function that makes functions
    gives them the same name and lines, but other defaults and other variables from outside.
    """
    if not isinstance(one, FunctionType) or not isinstance(other, FunctionType):
        return one is other or (type(one) in _PLAIN and type(one) is type(other) and one == other)
    if one.__code__ != other.__code__:
        return False
    return all(
        len(mine) == len(theirs) and all(map(_is_same, mine, theirs))
        for mine, theirs in zip(_variables(one), _variables(other), strict=True)
    )


def _variables(function: FunctionType) -> tuple[list[object], list[object]]:
    cells = [cell.cell_contents for cell in function.__closure__ or () if cell != _EMPTY]
    return list(function.__defaults__ or ()), cells


_EMPTY: Final = CellType()
_PLAIN: Final = frozenset({bool, int, float, str, bytes})


class FlowRegistry:
    """The flows and responders of one node, by wire name."""

    def __init__(self) -> None:
        self.flows: dict[str, Flow[..., object]] = {}
        self.responders: dict[str, Responder] = {}

    def register(self, *sources: "ModuleType | Flow[..., object] | Responder") -> None:
        """Add flows and responders, or all that a module has. Adding the same again is no error."""
        for source in sources:
            found = list(vars(source).values()) if isinstance(source, ModuleType) else [source]
            for item in found:
                if isinstance(item, Flow):
                    self._add_flow(item)
                elif isinstance(item, Responder):
                    self._add_responder(item)

    def flow(self, name: str) -> "Flow[..., object]":
        """Return the flow of this wire name; raises `UnknownFlow`."""
        found = self.flows.get(name)
        if found is None:
            raise UnknownFlow(
                f"flow {name!r} is not installed on this node; it has: "
                f"{', '.join(sorted(self.flows))}. Add its module to apps"
            )
        return found

    def installed(self, flow: "Flow[P, R]") -> "Flow[P, R]":
        """Return the flow itself; raises `UnknownFlow` if no app of the node has it."""
        if self.flows.get(flow.name) is flow:
            return flow
        found = self.flow(flow.name)
        if not _is_same(found.function, flow.function):
            raise UnknownFlow(
                f"another flow is installed on this node under the name {flow.name}, "
                f"from {found.function.__module__}"
            )
        return cast("Flow[P, R]", found)

    def _add_flow(self, added: "Flow[..., object]") -> None:
        there = self.flows.setdefault(added.name, added)
        if not _is_same(there.function, added.function):
            raise ConfigurationError(
                added.name, "two flows have this name", "Give one of them another name="
            )

    def _add_responder(self, added: Responder) -> None:
        there = self.responders.setdefault(added.answers, added)
        if there is not added and there.name != added.name:
            raise ConfigurationError(
                added.answers,
                f"two responders answer it, {there.name} and {added.name}",
                "Install only one of them on this node",
            )
