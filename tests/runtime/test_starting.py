"""Starting flows and what a handle can do, on a simulated node."""

from collections.abc import Callable

import pytest

from runtime import FlowException, Party, flow, message, responder, sleep, step
from runtime.errors import (
    BadArguments,
    FlowKilled,
    HoldForOperator,
    InFlow,
    MisuseError,
    NodeStopped,
    ResultNotReady,
    SennitError,
    UnknownFlow,
)
from runtime.flow import Flow
from runtime.handle import FlowHandle
from runtime.session import Session
from runtime.testing.network import App, SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import assert_nothing_is_left


@message
class Offer:
    asset: str
    price: int


@flow
def sell(offer: Offer, count: int = 1, *names: str, note: str | None = None, **more: float) -> str:
    return f"{count} {offer.asset} {names} {note} {more}"


@flow
def store(user: str, client_id: str, flow: str, self: str, on_repeat: str) -> list[str]:
    return [user, client_id, flow, self, on_repeat]


@flow
def keep(items: list, anything: object, party: Party | None = None) -> int:  # type: ignore[type-arg]
    return len(items)


@responder(sell)
def buy(session: Session) -> None:
    """Answer."""


APPS: list[App] = [sell, store, keep, buy]


@pytest.fixture
def network() -> SimulatedNetwork:
    return SimulatedNetwork()


@pytest.fixture
def alice(network: SimulatedNetwork) -> SimulatedNode:
    return network.node("Alice", apps=APPS)


OFFER = Offer("bond", 95)


def test_a_flow_gets_its_arguments_as_any_function_does(alice: SimulatedNode) -> None:
    handle = alice.start_flow(sell, OFFER, 2, "a", "b", note="n", fee=0.5)

    assert handle.result() == "2 bond ('a', 'b') n {'fee': 0.5}"


def test_a_flow_may_have_parameters_with_the_names_of_options(alice: SimulatedNode) -> None:
    handle = alice.options(client_id="id", user="u").start_flow(
        store, user="a", client_id="b", flow="c", self="d", on_repeat="e"
    )

    assert handle.result() == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("flow", "args", "kwargs", "named"),
    [
        (sell, ("bond",), {}, r"offer must be Offer, not 'bond': .*Signature: sell\("),
        (sell, (OFFER, "two"), {}, "count must be int, not 'two'"),
        (sell, (OFFER, None), {}, "count must be int, not None"),
        (sell, (OFFER, 1.5), {}, r"count must be int, not 1\.5"),
        (sell, (OFFER, 1, "a", 2), {}, r"names must be tuple\[str, \.\.\.\], not \('a', 2\)"),
        (sell, (OFFER,), {"note": 3}, r"note must be str \| None, not 3"),
        (sell, (OFFER,), {"fee": "x"}, r"more must be dict\[str, float\], not \{'fee': 'x'\}"),
        (sell, (), {}, "missing a required argument: 'offer'"),
        (sell, (OFFER, 1), {"count": 2}, "multiple values for argument 'count'"),
        (store, ("a",), {"other": 1}, "'client_id'|'other'"),
        (sell, (Offer("bond", "x"),), {}, "offer must be Offer, not Offer"),  # type: ignore[arg-type]
        (keep, ("text", 1), {}, "items must be list, not 'text'"),
        (keep, ([], object()), {}, r"keep\(anything=\.\.\.\)"),
        (keep, ([], 1, "O=Bob,L=Paris,C=FR"), {}, "party must be Party | None, not 'O=Bob"),
        (sell, (OFFER, 1, "x" * 1_000, 2), {}, r"names must be .{,250}\.\.\."),
    ],
)
def test_an_argument_that_does_not_fit_is_refused_by_its_name(
    network: SimulatedNetwork,
    alice: SimulatedNode,
    flow: Flow[..., object],
    args: tuple[object, ...],
    kwargs: dict[str, object],
    named: str,
) -> None:
    with pytest.raises(BadArguments, match=named) as caught:
        alice.start_flow(flow, *args, **kwargs)

    assert isinstance(caught.value, TypeError)
    assert alice.flows() == []
    assert_nothing_is_left(network)


def test_a_type_checker_sees_arguments_and_result(alice: SimulatedNode) -> None:
    """The comments that silence mypy would be errors themselves if it did not object."""
    with pytest.raises(BadArguments):
        alice.start_flow(sell, OFFER, "two")  # type: ignore[arg-type]
    with pytest.raises(BadArguments):
        alice.options(client_id="id").start_flow(sell)  # type: ignore[call-arg]
    with pytest.raises(BadArguments):
        alice.host.start_flow(sell, 1)  # type: ignore[arg-type]
    text: str = alice.start_flow(sell, OFFER).result()
    number: int = alice.start_flow(sell, OFFER).result()  # type: ignore[assignment]

    assert str(number) == text


def plain() -> None:
    """Be no flow."""


@flow
def of_no_app() -> None:
    """Be in no app."""


def namesake() -> Flow[[], None]:
    @flow(name=sell.name)
    def other() -> None: ...

    return other


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (buy, MisuseError, "buy is the responder to .*sell: a peer's session starts it"),
        (sell.name, MisuseError, "sell' is a name; import the flow"),
        (plain, MisuseError, "plain is not a flow; mark it with @flow"),
        (17, MisuseError, "17 is not a flow"),
        (of_no_app, UnknownFlow, r"of_no_app' is not installed.* Add its module to apps"),
        (namesake(), UnknownFlow, "another flow is installed on this node under the name"),
    ],
)
@pytest.mark.parametrize("verb", ["start_flow", "begin_flow"])
def test_what_can_not_be_started_is_refused(
    alice: SimulatedNode, given: object, error: type[SennitError], words: str, verb: str
) -> None:
    for starter in (alice, alice.options(client_id="id"), alice.host.options()):
        with pytest.raises(error, match=words):
            getattr(starter, verb)(given)

    assert alice.flows() == []
    assert alice.find("id") is None


starters: list[Callable[[], object]] = []


@step
def call_in_step() -> None:
    starters[-1]()


@flow
def call_in_flow() -> str:
    sleep(1)
    try:
        starters[-1]()
    except InFlow as error:
        return str(error)
    return "it was not refused"


@flow
def call_step() -> None:
    call_in_step()


@flow
def forever() -> str:
    sleep(1_000_000)
    return "late"


@pytest.mark.parametrize("verb", ["start_flow", "begin_flow"])
def test_a_flow_starts_no_flow(network: SimulatedNetwork, verb: str) -> None:
    alice = network.node("Alice", apps=[call_in_flow, call_step, forever])
    starters.append(lambda: getattr(alice, verb)(forever))

    told = alice.start_flow(call_in_flow).result()
    with pytest.raises(InFlow):
        alice.start_flow(call_step).result()

    assert "call forever(...) as a sub-flow" in told
    assert [row.name for row in alice.flows() if row.name == forever.name] == []


# --- handles ----------------------------------------------------------------------------------


class Repaired:
    """What a held flow waits for."""

    is_done = False


@flow
def need_repair() -> str:
    sleep(1)
    if not Repaired.is_done:
        raise HoldForOperator("the machine is broken")
    return "repaired"


@flow
def refuse() -> None:
    raise FlowException("no")


HANDLED = [forever, need_repair, refuse]


@pytest.fixture
def bob(network: SimulatedNetwork) -> SimulatedNode:
    Repaired.is_done = False
    return network.node("Bob", apps=HANDLED)


def test_a_result_that_is_not_ready_is_told_as_a_timeout(bob: SimulatedNode) -> None:
    handle = bob.start_flow(forever)

    with pytest.raises(ResultNotReady, match="waiting: no result yet") as caught:
        handle.result(timeout=5)

    assert isinstance(caught.value, TimeoutError)
    assert not handle.wait(timeout=5)
    assert handle.result() == "late"


def test_to_wait_for_the_end_does_not_raise_how_it_ended(bob: SimulatedNode) -> None:
    handle = bob.start_flow(refuse)

    assert handle.wait()
    with pytest.raises(FlowException, match="no"):
        handle.result()


@pytest.mark.parametrize("restarts", [False, True])
def test_a_flow_is_killed_by_its_handle(bob: SimulatedNode, restarts: bool) -> None:
    handle: FlowHandle[object] = bob.options(client_id="id").start_flow(forever)
    if restarts:
        bob.restart()
        handle = bob.handle(handle.id)

    assert handle.kill()
    assert not handle.kill()

    with pytest.raises(FlowKilled):
        handle.result()
    bob.restart()
    with pytest.raises(FlowKilled):
        bob.handle(handle.id).result()


@pytest.mark.parametrize("restarts", [False, True])
def test_a_held_flow_says_why_and_is_retried_by_its_handle(
    bob: SimulatedNode, network: SimulatedNetwork, restarts: bool
) -> None:
    handle: FlowHandle[object] = bob.start_flow(need_repair)
    before = handle.why_held
    network.run()
    if restarts:
        bob.restart()
        handle = bob.handle(handle.id)
    why = handle.why_held

    Repaired.is_done = True
    handle.retry()
    network.run()

    assert before is None
    assert why is not None
    assert "the machine is broken" in why
    assert "error id" in why
    assert handle.why_held is None
    assert handle.result() == "repaired"


def test_only_a_held_flow_is_retried(bob: SimulatedNode) -> None:
    waiting = bob.start_flow(forever)
    ended = bob.start_flow(refuse)
    ended.wait()

    for handle, status in ((waiting, "running|waiting"), (ended, "failed")):
        with pytest.raises(MisuseError, match=f"is ({status}); only a held flow"):
            handle.retry()


def test_a_flow_does_not_touch_others_through_handles(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[call_in_flow, forever])
    handle = alice.start_flow(forever)

    for touch in (handle.result, handle.wait, handle.kill, handle.retry):
        starters.append(touch)
        told = alice.start_flow(call_in_flow).result()
        assert "call it as a sub-flow" in told, touch

    assert not handle.is_ended


def test_the_handles_of_a_node_that_stopped_say_so(bob: SimulatedNode) -> None:
    running, ended = bob.start_flow(forever), bob.start_flow(refuse)
    ended.wait()
    bob.stop()

    for verb in (running.result, running.wait, running.kill, running.retry):
        with pytest.raises(NodeStopped, match="it goes on when the node is started again"):
            verb()
    assert ended.wait()
    assert not ended.kill()


def test_a_flow_that_failed_is_found_after_a_restart(network: SimulatedNetwork) -> None:
    @flow
    def divide(by: int) -> float:
        return 1 / by

    alice = network.node("Alice", apps=[divide])
    alice.options(client_id="id").start_flow(divide, 0).wait()

    alice.restart()

    found = alice.find("id", divide)
    assert found is not None
    assert found.status == "failed"
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        found.result()
