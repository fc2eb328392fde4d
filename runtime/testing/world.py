"""`World`: what a scenario sets up: nodes, the flows that clients want, what must hold at the end.

A client asks for its flow with a client id, and asks again each time that the node has come back,
until it knows how the flow ended. So a flow may start late, but it happens once.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import ParamSpec, TypeVar

from runtime.errors import FlowFailed
from runtime.flow import Flow
from runtime.handle import FlowHandle
from runtime.host import Host
from runtime.ids import FlowId
from runtime.ports import Batch
from runtime.step import step_id
from runtime.testing.faults import FaultPlan
from runtime.testing.network import App, SimulatedNetwork, SimulatedNode
from runtime.testing.recorder import Recorder

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a flow ended."""

    value: object = None
    error: BaseException | None = None

    def __str__(self) -> str:
        if self.error is None:
            return f"the result {self.value!r}"
        return f"{self.error_class} {self.error}"

    @property
    def error_class(self) -> str:
        """The name of the error's class, where it was raised, or nothing."""
        if isinstance(self.error, FlowFailed):
            return self.error.original_class.rpartition(".")[2]
        return "" if self.error is None else type(self.error).__name__


Expectation = Callable[[Outcome], bool]

Watcher = Callable[[SimulatedNode, Batch], None]


def ignore(outcome: Outcome) -> None:
    """Do nothing about it."""


def ended(outcome: Outcome) -> bool:
    """Expect an end, whichever."""
    return True


def succeeded(outcome: Outcome) -> bool:
    """Expect a result, whichever."""
    return outcome.error is None


def returned(value: object) -> Expectation:
    """Expect this result."""

    def check(outcome: Outcome) -> bool:
        return outcome.error is None and outcome.value == value

    check.__qualname__ = f"returned({value!r})"
    return check


def raised(*classes: type[BaseException]) -> Expectation:
    """Expect an error of one of these classes."""
    names = [cls.__name__ for cls in classes]

    def check(outcome: Outcome) -> bool:
        return outcome.error_class in names

    check.__qualname__ = f"raised({', '.join(names)})"
    return check


def either(*expectations: Expectation) -> Expectation:
    """Expect what one of ``expectations`` does."""

    def check(outcome: Outcome) -> bool:
        return any(expected(outcome) for expected in expectations)

    check.__qualname__ = " or ".join(each.__qualname__ for each in expectations)
    return check


class OutsideWorld:
    """What steps do to the world outside; it remembers over crashes of the nodes.

    A step of a scenario says ``service(OutsideWorld).did("pay order 17")``. Nothing may leave a
    flow before all that the flow did and consumed before is durable.
    """

    def __init__(self, network: SimulatedNetwork, recorder: Recorder) -> None:
        self._network = network
        self._recorder = recorder
        self.step_ids: dict[str, list[str]] = defaultdict(list)
        self.questions: Counter[str] = Counter()

    def did(self, what: str) -> None:
        """Take an effect of the step that is running."""
        done_by = step_id()
        self.step_ids[what].append(done_by)
        flow_id = FlowId(done_by.partition(":")[0])
        for node in self._network.nodes.values():
            run = None if node.engine is None else node.engine.manager.runs.get(flow_id)
            if run is not None and run.batch_number > run.commits.durable:
                self._recorder.problem(f"{what} is done before what it depends on is durable")

    def times(self, what: str) -> int:
        """Return how often ``what`` was done."""
        return len(self.step_ids[what])

    def is_away(self, what: str, times: int) -> bool:
        """Tell that ``what`` is away, the first ``times`` that somebody asks."""
        self.questions[what] += 1
        return self.questions[what] <= times


class Request:
    """A flow that a client wants to have happened, once."""

    def __init__(
        self,
        node: SimulatedNode,
        flow: Flow[..., object],
        arguments: tuple[object, ...],
        client_id: str,
    ) -> None:
        self.node = node
        self.flow = flow
        self.client_id = client_id
        self.expectation: Expectation = ended
        self.start_seconds = 0.0
        self.predecessors: tuple[Request, ...] = ()
        self.outcome: Outcome | None = None
        self.flow_id: FlowId | None = None
        self.follow_up: Callable[[Outcome], None] = ignore
        self._arguments = arguments

    def expect(self, expectation: Expectation) -> "Request":
        """Say how the flow has to end."""
        self.expectation = expectation
        return self

    def after(self, seconds: float) -> "Request":
        """Let the client come later, than the beginning or than what it `follows`."""
        self.start_seconds = seconds
        return self

    def follows(self, *others: "Request") -> "Request":
        """Let the client come once it has learned how ``others`` ended."""
        self.predecessors = others
        return self

    @property
    def is_due(self) -> bool:
        """Tell whether all that it follows has ended."""
        return all(other.outcome is not None for other in self.predecessors)

    def then(self, follow_up: Callable[[Outcome], None]) -> "Request":
        """Say what the client does, once, when it has learned how the flow ended."""
        self.follow_up = follow_up
        return self

    def begin(self) -> FlowHandle[object]:
        """Ask the node, which must be up, for the flow: start it, or get it."""
        return self.node.options(client_id=self.client_id).begin_flow(self.flow, *self._arguments)

    def kill(self) -> None:
        """Have an operator kill the flow, if it is there and runs."""
        if self.node.engine is not None and self.flow_id is not None:
            self.node.engine.manager.kill(self.flow_id)

    def retry(self) -> None:
        """Have an operator retry the flow, if it is there and held."""
        if self.node.engine is not None and self.flow_id is not None:
            self.node.engine.manager.hospital.retry(self.flow_id)

    def __str__(self) -> str:
        return f"{self.flow.name} {self.client_id!r} of {self.node.name}"


class World:
    """What a scenario is given; see the module."""

    def __init__(self, network: SimulatedNetwork, plan: FaultPlan, recorder: Recorder) -> None:
        self.network = network
        self.random = Random(f"scenario {network.seed}")
        """For choices of the scenario."""
        self.outside = OutsideWorld(network, recorder)
        self.requests: list[Request] = []
        self.checks: list[Callable[[], None]] = []
        self.recorder = recorder
        self.is_mended = False
        self._resources = ExitStack()
        self._has_begun = False
        self._commits = 0
        self._at_commits: list[tuple[int, Callable[[], None]]] = []
        self._watchers: list[Watcher] = []
        self._plan = plan

    # --- for scenarios ------------------------------------------------------------------------

    def node(
        self,
        organisation: str,
        *,
        apps: Sequence[App] = (),
        install: Callable[[Host], None] | None = None,
        notary: str | None = None,
    ) -> SimulatedNode:
        """Add a node; see `SimulatedNetwork.node`."""

        def install_all(host: Host) -> None:
            host.provide(OutsideWorld, self.outside)
            if install is not None:
                install(host)

        node = self.network.node(organisation, apps=apps, install=install_all, notary=notary)
        node.move_clock(self._plan.skew_ms())
        return node

    def request(
        self, node: SimulatedNode, flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> Request:
        """Let a client of ``node`` want a flow. It asks for it once the history has begun.

        A client may want more later on, for example in what it does `Request.then`.
        """
        bound = flow.arguments.bind(args, kwargs)
        client_id = f"{flow.__name__} {len(self.requests)}"  # type: ignore[attr-defined]
        request = Request(node, flow, bound, client_id)
        self.requests.append(request)
        if self._has_begun:
            self.after(0, partial(self._ask, request))
        return request

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something at a time, whatever is up or down then."""
        self.network.loop.call_at(self.network.clock.now_ms() + round(seconds * 1000), action)

    def after_commits(self, count: int, action: Callable[[], None]) -> None:
        """Do something when the nodes have made ``count`` more commits, all of them together.

        It is how to meet a flow in the middle: on a fast network, no time passes there.
        """
        self._at_commits.append((self._commits + count, action))

    def check(self, check: Callable[[], None]) -> None:
        """Call ``check`` when all is over and all nodes are up; it raises AssertionError.

        It is called twice: at first, and once more after all nodes have crashed and restarted.
        """
        self.checks.append(check)

    def watch(self, watcher: Watcher) -> None:
        """Call ``watcher`` with each batch of each node; it raises AssertionError.

        It is called when the batch is durable, before the node knows, so it sees what no check at
        the end can: what is wrong for a moment only, and would stay so if all stopped there.
        """
        self._watchers.append(watcher)

    def enter(self, resource: AbstractContextManager[R]) -> R:
        """Enter a context, of a temporary directory for example, and leave it after the history."""
        return self._resources.enter_context(resource)

    # --- for the simulation -------------------------------------------------------------------

    def begin(self) -> None:
        """Let the clients come."""
        self._has_begun = True
        for request in self.requests:
            self.after(request.start_seconds, partial(self._ask, request))

    def mended(self) -> None:
        """Learn that nothing goes wrong any more: clocks are right again, all nodes are up."""
        self.is_mended = True
        nodes = self.network.nodes.values()
        ahead_ms = max((node.clock.ahead_ms for node in nodes), default=0)
        for node in nodes:
            node.move_clock(ahead_ms - node.clock.ahead_ms)

    def landed(self, node: SimulatedNode, batch: Batch) -> None:
        """Learn that a commit of a node is durable."""
        self._commits += 1
        for watcher in self._watchers:
            try:
                watcher(node, batch)
            except AssertionError as error:
                self.recorder.problem(f"{node.name}, commit {self._commits} of all: {error}")
        for at, action in self._at_commits:
            if at == self._commits:
                self.network.loop.call_soon(action)

    def close(self) -> None:
        """Leave what was entered."""
        self._resources.close()

    def restarted(self, node: SimulatedNode) -> None:
        """Let the clients of a node that has come back ask again."""
        for request in self.requests:
            if request.node is node and request.outcome is None:
                self.after(self.random.random(), partial(self._ask, request))

    def _ask(self, request: Request) -> None:
        engine = request.node.engine
        if engine is None or request.outcome is not None or not request.is_due:
            return
        handle = request.begin()
        engine.commits.after(lambda: self._accepted(request, handle.id))
        handle.on_end(lambda: self._learned(request, handle))

    def _accepted(self, request: Request, flow_id: FlowId) -> None:
        if request.flow_id is None:
            self.recorder.note(f"{request} is flow {flow_id}")
            request.flow_id = flow_id
        elif request.flow_id != flow_id:
            self.recorder.problem(f"{request} was flow {request.flow_id} and now is {flow_id}")

    def _learned(self, request: Request, handle: FlowHandle[object]) -> None:
        self._accepted(request, handle.id)
        if request.outcome is not None:
            return
        outcome = outcome_of(handle)
        self.recorder.note(f"{request} ended with {outcome}")
        request.outcome = outcome
        request.follow_up(outcome)
        for other in self.requests:
            if request in other.predecessors:
                self.after(other.start_seconds, partial(self._ask, other))


def outcome_of(handle: FlowHandle[object]) -> Outcome:
    """Return how a flow that is over has ended."""
    try:
        return Outcome(value=handle.result())
    except Exception as error:  # whatever the flow raised is its outcome
        return Outcome(error=error)
