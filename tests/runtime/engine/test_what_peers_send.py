"""Whatever a peer sends, or an author raises: the node starts again, and replays what it played."""

from typing import Any

import pytest

from runtime import (
    BadMessage,
    FlowException,
    FlowFailed,
    HoldForOperator,
    Party,
    Session,
    UnexpectedFlowEnd,
    error_id_of,
    flow,
    initiate,
    message,
    peer_of,
    responder,
    sleep,
)
from runtime.core import envelopes
from runtime.core.envelopes import Data, Open
from runtime.ports import Space
from runtime.testing.memory_transport import Delivery, Link
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import (
    Wire,
    assert_nothing_is_left,
    only_flow,
    outcome,
    pair,
    same,
)

# What a stack has room for, and what none has.
DEEP = b"\x91" * 400 + b"\xc0"
TOO_DEEP = b"\x91" * 5_000 + b"\xc0"


class Late(FlowException):
    """An answer."""


@flow
def ask(peer: Party, how: str) -> object:
    session = initiate(peer)
    sleep(10)
    answers = [session.exchange(how, str).unwrap(same)]
    sleep(10)
    return answers


@responder(ask)
def answer(session: Session) -> None:
    match session.receive(str).unwrap(same):
        case "odd id":
            error = Late("late")
            vars(error).update(error_id=5, peer=["me"], original_class=b"mine")
            raise error
        case "large":
            raise Late(*range(60_000))
        case how:
            session.send(how)


@message(name="tests.Lean")
class Lean:
    text: str


@flow
def take(peer: Party, stack: int) -> str:
    return below(stack, initiate(peer))


def below(stack: int, session: Session) -> str:
    if stack:
        return below(stack - 1, session)
    try:
        return session.receive(Lean).unwrap(same).text
    except BadMessage as error:
        return type(error).__name__


@responder(take)
def give(session: Session) -> None:
    session.send(Lean("text"))


@flow
def hold(error_id: str) -> None:
    error = UnexpectedFlowEnd("O=Bob,L=London,C=GB", "it is made up", error_id)
    if error_id.isdigit():
        vars(error)["error_id"] = int(error_id)
    if error_id == "surrogate":
        error.error_id = "\ud800"
    raise HoldForOperator("wait") from error


class Surplus:
    """Adds a field that nobody asked for to each message of one class."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.replaced = 0

    def __call__(self, link: Link, encoded: list[bytes]) -> list[Delivery]:
        return [Delivery([self.changed(each) for each in encoded])]

    def changed(self, encoded: bytes) -> bytes:
        envelope = envelopes.decode(encoded)
        if isinstance(envelope, Data) and envelope.kind == "tests.Lean":
            body = envelope.body
            assert body[0] == 0x82
            envelope.body = b"\x83" + body[1:] + b"\xa3new" + self.content
            self.replaced += 1
        return envelopes.encode(envelope)


class Padding:
    """Adds to each message an element that nests deeply, and that nobody asked for."""

    def __init__(self, nested: bytes) -> None:
        self.nested = nested

    def __call__(self, link: Link, encoded: list[bytes]) -> list[Delivery]:
        return [Delivery([self.padded(each) for each in encoded])]

    def padded(self, encoded: bytes) -> bytes:
        fields = 1
        if isinstance(envelopes.decode(encoded), Open):
            encoded, fields = encoded + b"\xc4\0", 2
        return bytes([encoded[0] + fields]) + encoded[1:] + self.nested


def values(node: SimulatedNode) -> list[bytes]:
    scan = node.host.scan
    return [value for name in ("journal", "inbox") for _, value in scan(Space(name), b"", None)]


@pytest.mark.parametrize("moment", [1, 11, 19])
def test_a_surplus_element_is_not_kept(network: SimulatedNetwork, moment: int) -> None:
    alice, bob = pair(network, ask, answer)
    network.links.policy = Padding(DEEP)
    alice.begin_flow(ask, bob.party, "hello")

    network.run_for(moment)
    kept = [value for node in (alice, bob) for value in values(node)]
    alice.restart()
    bob.restart()
    handle = only_flow(alice).handle
    network.run()

    assert kept
    assert not [value for value in kept if DEEP in value]
    assert outcome(handle) == ["hello"]


def test_an_element_that_nobody_can_decode_is_dropped_and_the_rest_of_the_frame_is_taken(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, ask, answer)
    wire = Wire(network)
    handle = alice.begin_flow(ask, bob.party, "hello")
    hostile = b"\x94\x05\xc4\x10" + bytes(16) + b"\x01" + TOO_DEEP

    bob.frame_arrives(alice.party.name, [hostile, hostile])
    network.run()

    assert outcome(handle) == ["hello"]
    assert bob.info().messages_dropped["malformed"] == 2
    assert wire.of(Data)


@pytest.mark.parametrize(("levels", "is_read"), [(203, False), (850, False), (190, True)])
def test_a_value_that_nests_deeply_is_refused_however_much_stack_is_left(
    network: SimulatedNetwork, levels: int, is_read: bool
) -> None:
    alice, bob = pair(network, take, give)
    wire = Surplus(b"\x91" * levels + b"\xc0")
    network.links.policy = wire
    handles = [alice.begin_flow(take, bob.party, stack) for stack in (0, 500)]

    network.run()

    assert wire.replaced
    for handle in handles:
        assert outcome(handle) == ("text" if is_read else "BadMessage")


@pytest.mark.parametrize("how", ["odd id", "large"])
def test_an_error_with_any_arguments_and_attributes_crosses_restarts(
    network: SimulatedNetwork, how: str
) -> None:
    alice, bob = pair(network, ask, answer)
    network.links.policy = lambda link, encoded: []
    handle = alice.begin_flow(ask, bob.party, how)
    network.run_for(60)

    alice.restart()
    bob.restart()
    handle = only_flow(alice).handle
    network.links.policy = lambda link, encoded: [Delivery(encoded)]
    network.run()

    error = outcome(handle)
    assert isinstance(error, FlowException)
    assert peer_of(error) == bob.party.name
    assert isinstance(error_id_of(error), str)
    assert how != "odd id" or vars(error)["error_id"] == 5
    assert_nothing_is_left(network)


@pytest.mark.parametrize("odd", ["5", "x" * 300, "surrogate"], ids=["number", "long", "no UTF-8"])
def test_an_error_id_that_an_author_made_up_stops_no_start(
    network: SimulatedNetwork, odd: str
) -> None:
    alice = network.node("Alice", apps=[hold])
    alice.begin_flow(hold, odd)
    network.run()

    alice.restart()

    run = only_flow(alice)
    assert (run.handle.status, run.hold_reason) == ("held", "the flow asked for it")
    assert run.error_id
    assert len(run.error_id) < 100


@pytest.mark.parametrize("odd", [SystemExit(3), GeneratorExit(), BaseException("mine")], ids=str)
def test_what_ends_processes_reaches_who_asks_for_the_result_as_a_failure(
    network: SimulatedNetwork, odd: BaseException
) -> None:
    @flow
    def leave() -> None:
        raise odd

    alice = network.node("Alice", apps=[leave])
    handle = alice.begin_flow(leave)

    error = outcome(handle)

    assert isinstance(error, FlowFailed)
    assert error.original_class == type(odd).__name__
    assert error.__cause__ is odd


@pytest.mark.parametrize("odd", [5, "x" * 300, "\ud800"], ids=["number", "long", "no UTF-8"])
def test_whatever_an_app_calls_its_version_both_nodes_start_again(
    network: SimulatedNetwork, odd: Any
) -> None:
    alice, bob = pair(network, ask, answer)
    for node in (alice, bob):
        node.host.app_versions["tests"] = odd
    network.links.policy = lambda link, encoded: []
    alice.begin_flow(ask, bob.party, "hello")
    network.run_for(60)

    alice.restart()
    network.links.policy = lambda link, encoded: [Delivery(encoded)]
    handle = only_flow(alice).handle
    network.run()

    assert outcome(handle) == ["hello"]
    assert alice.info().unreadable == []
