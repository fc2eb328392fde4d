"""Semantics 5: what escapes a flow, and who gets to know what of it."""

import logging

import pytest

from runtime import (
    FlowException,
    FlowKilled,
    Party,
    Session,
    UnexpectedFlowEnd,
    flow,
    initiate,
    responder,
    sleep,
)
from runtime.core.envelopes import Accept, Error
from runtime.errors import (
    SennitError,
    error_id_of,
    flow_exceptions,
    original_class_of,
    peer_of,
)
from runtime.testing.network import SimulatedNetwork
from tests.runtime.engine.scenes import Wire, assert_nothing_is_left, outcome, pair, same, turn


class TooExpensive(FlowException):
    """The price is above the limit."""

    def __init__(self, price: int, limit: int) -> None:
        super().__init__(price, limit)
        self.price = price
        self.limit = limit


class Declined(FlowException):
    """Its constructor can't be called with its args."""

    __slots__ = ("place",)
    place: str

    def __init__(self, *, code: int, place: str) -> None:
        super().__init__("declined", code)
        self.code = code
        self.place = place

    def __str__(self) -> str:
        return f"{self.code} at {self.place}"


class Wrapped(FlowException):
    """Raised from another one."""


class Unencodable:
    """Nothing that crosses."""


@flow
def ask(peer: Party, question: str) -> str:
    return initiate(peer).exchange(question, str).unwrap(same)


@responder(ask)
def answer(session: Session) -> None:
    match session.receive(str).unwrap(same):
        case "dear":
            raise TooExpensive(120, 100)
        case "attributes":
            error = TooExpensive(120, 100)
            error.currency = "EUR"  # type: ignore[attr-defined]
            error.lost = Unencodable()  # type: ignore[attr-defined]
            raise error
        case "break":
            raise ValueError("a secret")
        case "sleep":
            sleep(1_000)
        case question:
            session.send(question.upper())


# --- one peer -----------------------------------------------------------------------------


def test_a_flow_exception_is_the_flows_own_result(network: SimulatedNetwork) -> None:
    @flow
    def fail() -> None:
        raise TooExpensive(1, 2)

    alice = network.node("Alice", apps=[fail])
    handle = alice.start_flow(fail)

    with pytest.raises(TooExpensive) as caught:
        handle.result()

    assert handle.status == "failed"
    assert "error id" in caught.value.__notes__[0]


def test_a_flow_exception_crosses_with_class_and_arguments(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, ask, answer)

    with pytest.raises(TooExpensive) as caught:
        alice.start_flow(ask, bob.party, "dear").result()

    assert (caught.value.price, caught.value.limit) == (120, 100)
    assert peer_of(caught.value) == bob.party.name


def test_the_stack_is_the_receivers_own_with_a_note_of_the_peer(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, ask, answer)

    with pytest.raises(TooExpensive) as caught:
        alice.start_flow(ask, bob.party, "dear").result()

    functions = [entry.name for entry in caught.traceback]
    assert "ask" in functions
    assert "answer" not in functions
    assert f"raised by the flow of {bob.party.name}" in caught.value.__notes__[0]


def test_attributes_travel_if_they_can_be_encoded(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, ask, answer)

    with pytest.raises(TooExpensive) as caught:
        alice.start_flow(ask, bob.party, "attributes").result()

    assert vars(caught.value)["currency"] == "EUR"
    assert "lost" not in vars(caught.value)


def test_an_error_of_any_constructor_is_caught_by_its_class_live_and_replayed(
    network: SimulatedNetwork,
) -> None:
    seen: list[str] = []

    @flow
    def order(peer: Party) -> str:
        try:
            return initiate(peer).exchange("order", str).unwrap(same)
        except Declined as error:
            seen.append(f"{error} {error.code} {error.place} {error.args}")
        sleep(10)
        return seen[-1]

    @responder(order)
    def decline(session: Session) -> None:
        session.receive(str)
        raise Declined(code=51, place="till")

    alice, bob = pair(network, order, decline)
    handle = alice.start_flow(order, bob.party)
    network.run_for(1)
    alice.restart()

    assert alice.handle(handle.id).result() == "51 at till 51 till ('declined', 51)"
    assert len(seen) >= 2
    assert len(set(seen)) == 1


def test_the_result_of_any_constructor_stays_of_its_class(network: SimulatedNetwork) -> None:
    @flow
    def decline() -> None:
        raise Declined(code=51, place="till")

    alice = network.node("Alice", apps=[decline])
    client = alice.options(client_id="decline")
    with pytest.raises(Declined):
        client.start_flow(decline).result()
    alice.restart()

    with pytest.raises(Declined, match="51 at till"):
        alice.options(client_id="decline").start_flow(decline).result()


def test_a_class_that_this_side_does_not_have_is_named(
    network: SimulatedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{TooExpensive.__module__}.TooExpensive"
    monkeypatch.delitem(flow_exceptions, name)
    alice, bob = pair(network, ask, answer)

    with pytest.raises(FlowException) as caught:
        alice.start_flow(ask, bob.party, "dear").result()

    assert type(caught.value) is FlowException
    assert original_class_of(caught.value) == name


def test_any_other_exception_crosses_as_an_error_id_only(network: SimulatedNetwork) -> None:
    wire = Wire(network)
    alice, bob = pair(network, ask, answer)

    with pytest.raises(UnexpectedFlowEnd) as caught:
        alice.start_flow(ask, bob.party, "break").result()

    assert "secret" not in str(caught.value)
    assert all(each.error is None for each in wire.of(Error))


@pytest.mark.parametrize("question", ["dear", "break"])
def test_the_same_error_id_stands_in_both_logs(
    network: SimulatedNetwork, caplog: pytest.LogCaptureFixture, question: str
) -> None:
    alice, bob = pair(network, ask, answer)

    with caplog.at_level(logging.WARNING), pytest.raises(SennitError) as caught:
        alice.start_flow(ask, bob.party, question).result()

    error_id = error_id_of(caught.value) or "none"
    told = [record for record in caplog.records if error_id in record.getMessage()]
    assert {record.flow for record in told} == {ask.name, answer.name}  # type: ignore[attr-defined]


def test_the_owner_of_an_unexpected_error_gets_it_with_its_stack_in_the_log(
    network: SimulatedNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    @flow
    def break_it() -> None:
        raise ValueError("a bug")

    alice = network.node("Alice", apps=[break_it])

    error = outcome(alice.start_flow(break_it))

    assert isinstance(error, ValueError)
    assert "in break_it" in caplog.text


def test_a_killed_flow_tells_its_peers_of_an_unexpected_end(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, ask, answer)
    handle = alice.start_flow(ask, bob.party, "sleep")
    network.run_for(1)
    (theirs,) = bob.flows()

    assert bob.kill(theirs.id)

    assert isinstance(outcome(handle), UnexpectedFlowEnd)
    assert isinstance(outcome(bob.handle(theirs.id)), FlowKilled)
    network.run()
    assert_nothing_is_left(network)


# --- a chain of peers -----------------------------------------------------------------------


@flow
def ask_through(peers: list[Party], question: str, how: str) -> str:
    session = initiate(peers[0])
    session.send(peers[1:])
    session.send(how)
    return session.exchange(question, str).unwrap(same)


@responder(ask_through)
def pass_on(session: Session) -> None:
    peers = session.receive(list[Party]).unwrap(same)
    how = session.receive(str).unwrap(same)
    question = session.receive(str).unwrap(same)
    if not peers:
        raise TooExpensive(120, 100)
    try:
        session.send(ask_through(peers, question, how))
    except FlowException as error:
        if how == "wrap":
            raise Wrapped("it was too dear") from error
        if how == "answer":
            session.send("too dear")
        else:
            raise


def test_a_peers_exception_that_is_not_caught_does_not_cross_again(
    network: SimulatedNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    alice, bob = pair(network, ask_through, pass_on)
    carol = network.node("Carol", apps=[ask_through, pass_on])

    with caplog.at_level(logging.ERROR), pytest.raises(UnexpectedFlowEnd) as caught:
        alice.start_flow(ask_through, [bob.party, carol.party], "price?", "leave").result()

    # The same id leads from the first node to the last.
    failed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert {record.error_id for record in failed} == {caught.value.error_id}  # type: ignore[attr-defined]
    assert len(failed) == 3


def test_wrapping_sends_the_new_one_on(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, ask_through, pass_on)
    carol = network.node("Carol", apps=[ask_through, pass_on])

    with pytest.raises(Wrapped, match="it was too dear") as caught:
        alice.start_flow(ask_through, [bob.party, carol.party], "price?", "wrap").result()

    assert peer_of(caught.value) == bob.party.name


def test_a_peers_exception_that_is_caught_is_an_answer(network: SimulatedNetwork) -> None:
    alice, bob = pair(network, ask_through, pass_on)
    carol = network.node("Carol", apps=[ask_through, pass_on])

    got = alice.start_flow(ask_through, [bob.party, carol.party], "price?", "answer").result()

    assert got == "too dear"


# --- when -----------------------------------------------------------------------------------


@flow
def fail_early(peer: Party) -> None:
    initiate(peer).send("hello")
    raise TooExpensive(1, 2)


heard: list[BaseException] = []


@responder(fail_early)
def hear(session: Session) -> None:
    session.receive(str)
    try:
        session.receive(str)
    except TooExpensive as error:
        heard.append(error)


def test_an_error_reaches_a_session_that_is_opening_as_soon_as_it_is_accepted(
    network: SimulatedNetwork,
) -> None:
    heard.clear()
    wire = Wire(network)
    alice, bob = pair(network, fail_early, hear)
    bob.crash()

    assert isinstance(outcome(alice.start_flow(fail_early, bob.party)), TooExpensive)
    network.run_for(30)
    alice.restart()
    network.run_for(30)
    assert not heard
    bob.start()
    network.run()

    assert heard
    assert wire.trace() == ["open(hello)", "accept", "error", "end"]
    assert_nothing_is_left(network)


@pytest.mark.parametrize("days", [2, pytest.param(60, marks=pytest.mark.no_cover)])
def test_it_does_so_however_long_the_peer_was_away(network: SimulatedNetwork, days: int) -> None:
    # Breaks when tombstones are swept while their peer may still ask.
    heard.clear()
    alice, bob = pair(network, fail_early, hear)
    bob.crash()
    outcome(alice.start_flow(fail_early, bob.party))
    network.run_for(days * 86_400)
    alice.restart()

    bob.start()
    network.run()

    assert heard
    assert_nothing_is_left(network)


def test_the_error_is_in_the_same_commit_as_the_flows_end() -> None:
    # A crash right after the commit that ends the flow can't lose the error.
    for crash_after in range(8):
        network = SimulatedNetwork()
        alice, bob = pair(network, ask, answer)
        handle = alice.start_flow(ask, bob.party, "dear")
        for _ in range(crash_after):
            commits = bob.commits
            while bob.commits == commits and network.loop.step():
                pass
        bob.restart()

        assert isinstance(outcome(handle), TooExpensive)


def test_errors_of_a_node_that_restarts_come_back_as_what_they_were(
    network: SimulatedNetwork,
) -> None:
    @flow
    def fail_with(kind: str) -> None:
        match kind:
            case "flow":
                raise TooExpensive(1, 2)
            case "builtin":
                raise ValueError("a bug")
            case _:
                raise StrangeError("o", "dd")

    alice = network.node("Alice", apps=[fail_with])
    for kind in ("flow", "builtin", "other"):
        outcome(alice.options(client_id=kind).begin_flow(fail_with, kind))
    alice.restart()

    kept = [outcome(alice.options(client_id=kind).begin_flow(fail_with, kind)) for kind in KINDS]

    assert [type(error) for error in kept] == [TooExpensive, ValueError, StrangeError]
    assert str(kept[2]) == "odd"


KINDS = ("flow", "builtin", "other")


class StrangeError(Exception):
    """Nothing that this project knows, and its constructor wants other args."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def test_what_waits_for_an_error_does_not_wait_for_the_next_turn_of_others(
    network: SimulatedNetwork,
) -> None:
    alice, bob = pair(network, ask, answer)
    wire = Wire(network)
    wire.loses = lambda link, envelope: isinstance(envelope, Accept)
    handle = alice.start_flow(ask, bob.party, "dear")
    network.run_for(3)
    assert not handle.is_ended
    wire.loses = lambda link, envelope: False

    assert isinstance(outcome(handle), TooExpensive)
    turn(network)
