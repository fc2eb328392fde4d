"""A value of any kind, wherever a flow meets it, is to a replay what it was to the live code."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final, TypeVar

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from runtime import (
    FlowException,
    Party,
    Retry,
    Session,
    StoreTxn,
    atomic,
    flow,
    initiate,
    responder,
    sleep,
    step,
)
from runtime.errors import BadArguments, UnserialisableMessage
from runtime.signatures import Arguments
from runtime.testing.network import App, SimulatedNetwork, SimulatedNode
from tests.runtime.engine.kinds_of_values import KINDS, exact, in_words
from tests.runtime.engine.scenes import outcome, same

F = TypeVar("F", bound=Callable[..., object])

EXAMPLES: Final = 10
TWICE: Final = Retry(attempts=2, first_delay=0.1)
ALWAYS_SEEN: Final = {
    "made: step",
    "made: atomic",
    "made: sub-flow error",
    "made: message at the responder, later",
    "made: error of the peer",
    "made: at the end",
    "result of travel",
    "result of fail",
}
NOTHING: Final = "nothing was sent"


class StepBroke(Exception):
    """What a step fails with: the value is an argument and an attribute."""

    def __init__(self, value: object, *, beside: object) -> None:
        super().__init__(value)
        self.beside = beside


class Refused(FlowException):
    """What flows fail with, before their peers and their callers."""

    def __init__(self, value: object) -> None:
        super().__init__("refused", value)
        self.value = value
        self.parts = [value]


class Journey:
    """Flows that take a value of one declared type everywhere, and write down what they see."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self.made: Any = None
        self.seen: defaultdict[str, list[str]] = defaultdict(list)
        self._declare_steps()
        self._declare_subflow()
        self._declare_flows()
        self.apps: list[App] = [
            self.travel,
            self.travel_light,
            self.fail,
            self.inner,
            *self.answers,
        ]
        self.fits = Arguments(self._declared(lambda: None)).recorded_result

    def _declared(self, function: F) -> F:
        if "value" in function.__code__.co_varnames[: function.__code__.co_argcount]:
            function.__annotations__["value"] = self.annotation
        function.__annotations__["return"] = self.annotation
        return function

    def see(self, where: str, value: object) -> None:
        self.seen[where].append(exact(value))

    def _declare_steps(self) -> None:
        def keep(origin: str, value: object) -> object:
            # What an attempt after a restart gets is what the first one has got.
            self.see(f"{origin}: step argument", value)
            if len(self.seen[f"{origin}: step argument"]) == 1:
                raise ConnectionError("again")
            return self.made

        def take(txn: StoreTxn, value: object) -> object:
            return self.made

        def fail(value: object) -> None:
            raise StepBroke(value, beside=[value])

        def refuse(txn: StoreTxn, value: object) -> None:
            raise Refused(value)

        self.keep = step(retry=TWICE)(self._declared(keep))
        self.take = atomic(self._declared(take))
        self.break_down = step(fail)
        self.refuse = atomic(refuse)

    def _declare_subflow(self) -> None:
        def inner(origin: str, value: object, raises: bool) -> object:
            self.see(f"{origin}: sub-flow argument, raises={raises}", value)
            sleep(1)
            if raises:
                raise Refused(value)
            return value

        self.inner = flow(name="tests.everywhere.inner")(self._declared(inner))

    def _declare_flows(self) -> None:
        def travel(peer: Party, value: object) -> object:
            self.see("flow argument", value)
            self._go_everywhere(peer, "given", value)
            self._go_everywhere(peer, "made", self.made)
            return value

        def travel_light(peer: Party) -> object:
            self._go_everywhere(peer, "made", self.made)
            return self.made

        def fail() -> None:
            raise Refused(self.made)

        def answer(session: Session) -> None:
            origin = session.receive(str).unwrap(same)
            got = told(lambda: session.receive(self.annotation).unwrap(same))
            self.see(f"{origin}: message at the responder", got)
            # As a flow can't answer with an error, it does so with what it would have sent.
            back = self.made if isinstance(got, Exception) else got
            self.see(f"{origin}: answering", told(lambda: self._send(session, back)))
            session.receive(str)
            self.see(f"{origin}: message at the responder, later", got)
            sleep(1)
            raise Refused(back)

        self.travel = flow(name="tests.everywhere.travel")(self._declared(travel))
        self.travel_light = flow(name="tests.everywhere.light")(self._declared(travel_light))
        self.fail = flow(name="tests.everywhere.fail")(fail)
        self.answers = [responder(opener)(answer) for opener in (self.travel, self.travel_light)]

    def _go_everywhere(self, peer: Party, origin: str, value: Any) -> None:
        places: dict[str, Callable[[], object]] = {
            "step": lambda: self.keep(origin, value),
            "atomic": lambda: self.take(value) if self._may_be_a_result() else None,
            "sub-flow": lambda: self.inner(origin, value, False),
            "sub-flow error": lambda: self.inner(origin, value, True),
            "step error": lambda: self.break_down(value),
            "atomic error": lambda: self.refuse(value),
        }
        for where, call in places.items():
            self.see(f"{origin}: {where}", told(call))
        session = initiate(peer)
        session.send(origin)
        self.see(f"{origin}: sending", told(lambda: self._send(session, value)))
        got = told(lambda: session.receive(self.annotation).unwrap(same))
        self.see(f"{origin}: message at the initiator", got)
        session.send("go on")
        self.see(f"{origin}: error of the peer", told(lambda: session.receive(str)))
        self.see(f"{origin}: at the end", value)
        sleep(1)

    def _may_be_a_result(self) -> bool:
        # An atomic function whose result can't be written is for the hospital.
        try:
            self.fits(self.made)
        except UnserialisableMessage:
            return False
        return True

    def _send(self, session: Session, value: object) -> None:
        try:
            session.send(value)
        except UnserialisableMessage:
            session.send(NOTHING)
            raise


def told(call: Callable[[], object]) -> object:
    try:
        return call()
    except Exception as error:
        return error


@pytest.mark.parametrize("kind", KINDS, ids=in_words)
def test_a_value_is_everywhere_what_it_is_at_the_replay(
    kind: tuple[object, st.SearchStrategy[Any]],
) -> None:
    annotation, values = kind
    journey = Journey(annotation)

    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate])
    @given(values)
    def property_of(value: object) -> None:
        journey.made = value
        journey.seen.clear()
        network = SimulatedNetwork()
        alice, bob = (network.node(name, apps=journey.apps) for name in ("Alice", "Bob"))
        start_travel(journey, alice, bob.party)
        alice.options(client_id="fail").start_flow(journey.fail)
        for seconds in (0.05, 1, 1, 1):
            network.run_for(seconds)
            alice.restart()
            bob.restart()
        for client_id in ("travel", "fail"):
            journey.see(f"result of {client_id}", result_of(alice, client_id))
            alice.restart()
            journey.see(f"result of {client_id}", result_of(alice, client_id))

        differing = {where: seen for where, seen in journey.seen.items() if len(set(seen)) > 1}

        assert differing == {}
        assert {where for where, seen in journey.seen.items() if len(seen) < 2} == set()
        assert journey.seen.keys() >= ALWAYS_SEEN

    property_of()


def start_travel(journey: Journey, alice: SimulatedNode, bob: Party) -> None:
    starter = alice.options(client_id="travel")
    try:
        starter.start_flow(journey.travel, bob, journey.made)
    except BadArguments:
        # Nothing else is as strict as a start: the value may come from within the flow.
        starter.start_flow(journey.travel_light, bob)


def result_of(node: SimulatedNode, client_id: str) -> object:
    handle = node.find(client_id)
    assert handle is not None
    return outcome(handle)
