"""Atomic functions: exactly once, in the commit of their flow."""

import pytest

from runtime import FlowException, NotInFlow, Party, atomic, flow, initiate, sleep, step
from runtime.atomic import StoreTxn
from runtime.errors import InFlow, MisuseError, NodeStopped
from runtime.ports import KEY_BYTES_MAX, Space
from runtime.testing.network import SimulatedNetwork, SimulatedNode
from tests.runtime.engine.scenes import (
    HeldDisk,
    assert_nothing_is_left,
    kinds,
    outcome,
    pair,
    turn,
)

SPACE = Space("accounts")


class Overdrawn(FlowException):
    """There is less on the account."""


@atomic
def add(txn: StoreTxn, account: str, amount: int) -> int:
    """Add to an account; take nothing away that is not there."""
    key = account.encode()
    balance = int(txn.get(SPACE, key) or b"0") + amount
    txn.put(SPACE, key, str(balance).encode())
    if balance < 0:
        raise Overdrawn(account, balance)
    return balance


def balance(node: SimulatedNode, account: str) -> int:
    return int(node.host.get(SPACE, account.encode()) or b"0")


@flow
def deposit(amounts: list[int]) -> list[int]:
    balances = [add("anna", amount) for amount in amounts]
    sleep(10)
    return balances


@flow
def withdraw(amount: int) -> str:
    add("anna", 5)
    try:
        add("anna", -amount)
    except Overdrawn as error:
        sleep(10)
        return f"overdrawn {error.args}"
    return "fine"


def test_reads_see_all_earlier_writes(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[deposit])

    assert alice.start_flow(deposit, [1, 2, 3]).result() == [1, 3, 6]
    assert alice.start_flow(deposit, [4]).result() == [10]


def test_it_happens_exactly_once_over_restarts(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[deposit])
    handle = alice.start_flow(deposit, [1, 2])
    for _ in range(3):
        network.run_for(1)
        alice.restart()

    assert alice.handle(handle.id).result() == [1, 3]
    assert balance(alice, "anna") == 3


def test_its_writes_and_its_outcome_are_one_commit() -> None:
    # Before the commit there is neither, after it there are both.
    for commits in range(4):
        disk = HeldDisk()
        network = SimulatedNetwork(disk=disk)
        alice = network.node("Alice", apps=[deposit])
        alice.options(client_id="one").begin_flow(deposit, [1, 2])
        for _ in range(commits):
            turn(network)
            alice.store.make_durable(1)
        alice.restart()
        disk.let_go(alice)

        handle = alice.options(client_id="one").begin_flow(deposit, [1, 2])

        assert handle.result() == [1, 3]
        assert balance(alice, "anna") == 3


def test_a_flow_exception_rolls_back_and_is_the_outcome(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[withdraw])
    handle = alice.start_flow(withdraw, 7)
    network.run_for(1)
    alice.restart()

    assert alice.handle(handle.id).result() == "overdrawn ('anna', -2)"
    assert balance(alice, "anna") == 5


def test_it_runs_without_suspending_and_shares_its_commit() -> None:
    network = SimulatedNetwork()
    alice = network.node("Alice", apps=[deposit])
    handle = alice.start_flow(deposit, [1] * 100)
    network.run_for(1)

    assert kinds(alice, handle.id).count("Stepped") == 100
    assert alice.commits == 1


def test_it_can_scan_and_delete_what_it_wrote_and_what_was_there(
    network: SimulatedNetwork,
) -> None:
    @atomic
    def shuffle(txn: StoreTxn) -> list[str]:
        txn.put(SPACE, b"b", b"1")
        txn.put(SPACE, b"d", b"1")
        txn.delete(SPACE, b"c")
        txn.delete(SPACE, b"d")
        assert txn.get(SPACE, b"c") is None
        assert txn.host.me.name
        return [key.decode() for key, _ in txn.scan(SPACE, b"a", b"e")]

    @flow
    def use_all() -> list[str]:
        add("a", 1)
        add("c", 1)
        add("e", 1)
        return shuffle()

    alice = network.node("Alice", apps=[use_all])

    assert alice.start_flow(use_all).result() == ["a", "b"]
    assert [key for key, _ in alice.host.scan(SPACE, b"", None)] == [b"a", b"b", b"e"]


@pytest.mark.parametrize("key", [b"", b"x" * (KEY_BYTES_MAX + 1)])
def test_a_key_that_the_store_can_not_have_fails_the_flow_and_not_the_node(
    network: SimulatedNetwork, key: bytes
) -> None:
    @atomic
    def put_badly(txn: StoreTxn) -> None:
        txn.delete(SPACE, key)
        txn.put(SPACE, key, b"")

    @flow
    def put_it() -> None:
        put_badly()

    alice = network.node("Alice", apps=[put_it, deposit])

    assert isinstance(outcome(alice.start_flow(put_it)), ValueError)
    assert alice.start_flow(deposit, [1]).result() == [1]


heard: list[str] = []


@atomic
def tell(txn: StoreTxn, what: str) -> None:
    txn.on_durable(lambda: heard.append(what))
    if what == "nothing":
        raise Overdrawn("anna", -1)
    if what == "trouble":
        txn.on_durable(lambda: 1 / 0)  # type: ignore[arg-type]


@flow
def tell_all(words: list[str]) -> str:
    for word in words:
        try:
            tell(word)
        except Overdrawn:
            continue
    sleep(10)
    return "told"


def test_callbacks_hear_of_their_writes_once_these_are_durable_and_not_again_at_a_replay() -> None:
    heard.clear()
    network = SimulatedNetwork(disk=HeldDisk())
    alice = network.node("Alice", apps=[tell_all])
    alice.begin_flow(tell_all, ["one", "two"])
    turn(network)

    assert heard == []
    alice.store.make_durable()
    turn(network)
    assert heard == ["one", "two"]
    alice.restart()
    network.run_for(1)
    assert heard == ["one", "two"]


def test_nobody_hears_of_writes_that_were_discarded(network: SimulatedNetwork) -> None:
    heard.clear()
    alice = network.node("Alice", apps=[tell_all])

    assert alice.start_flow(tell_all, ["nothing", "one"]).result() == "told"

    assert heard == ["one"]


def test_a_callback_that_fails_keeps_nobody_waiting(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[tell_all])

    assert alice.start_flow(tell_all, ["trouble"]).result() == "told"


# --- outside of flows -----------------------------------------------------------------------


def test_outside_of_a_flow_the_host_runs_it_and_waits_until_it_is_durable(
    network: SimulatedNetwork,
) -> None:
    alice = network.node("Alice", apps=[deposit])

    assert alice.host.run_atomic(add, "anna", 5) == 5
    alice.restart()

    assert balance(alice, "anna") == 5


def test_outside_of_a_flow_an_error_discards_its_writes(network: SimulatedNetwork) -> None:
    alice = network.node("Alice", apps=[deposit])

    with pytest.raises(Overdrawn):
        alice.host.run_atomic(add, "anna", -5)

    assert balance(alice, "anna") == 0


def test_outside_of_a_flow_it_can_not_be_called_like_a_function() -> None:
    with pytest.raises(NotInFlow, match=r"host\.run_atomic"):
        add("anna", 5)


def test_in_a_flow_the_host_does_not_run_it(network: SimulatedNetwork) -> None:
    @flow
    def go_round() -> str:
        try:
            alice.host.run_atomic(add, "anna", 5)
        except InFlow as error:
            return str(error)
        return "ran"

    alice = network.node("Alice", apps=[go_round])

    assert "call" in alice.start_flow(go_round).result()


def test_an_operation_of_the_flow_inside_of_it_is_an_error_of_the_caller(
    network: SimulatedNetwork,
) -> None:
    @atomic
    def misbehave(txn: StoreTxn, peer: Party) -> None:
        initiate(peer)

    @flow
    def misuse(peer: Party) -> None:
        misbehave(peer)

    alice, bob = pair(network, misuse)

    assert isinstance(outcome(alice.start_flow(misuse, bob.party)), MisuseError)


def test_in_a_step_it_is_an_error_of_the_caller(network: SimulatedNetwork) -> None:
    @step
    def add_in_step() -> int:
        return add("anna", 5)

    @flow
    def misuse() -> int:
        return add_in_step()

    alice = network.node("Alice", apps=[misuse])

    assert isinstance(outcome(alice.start_flow(misuse)), MisuseError)
    assert balance(alice, "anna") == 0


# --- at the end of flows ----------------------------------------------------------------------


def test_a_callback_at_the_end_of_a_flow_writes_in_the_commit_of_that_end(
    network: SimulatedNetwork,
) -> None:
    alice = network.node("Alice", apps=[deposit])

    def release(txn: StoreTxn, flow_id: str) -> None:
        txn.put(SPACE, flow_id.encode(), b"released")

    alice.host.on_flow_end(release)

    handle = alice.start_flow(deposit, [1])
    handle.result()
    alice.restart()

    assert alice.host.get(SPACE, handle.id.encode()) == b"released"


def test_a_callback_at_the_end_that_fails_ends_the_flow_all_the_same(
    network: SimulatedNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    alice = network.node("Alice", apps=[deposit])

    def fail(txn: StoreTxn, flow_id: str) -> None:
        txn.put(SPACE, flow_id.encode(), b"never")
        raise ValueError("a bug in a callback")

    alice.host.on_flow_end(fail)

    handle = alice.start_flow(deposit, [1])

    assert handle.result() == [1]
    assert alice.host.get(SPACE, handle.id.encode()) is None
    assert "a bug in a callback" in caplog.text
    network.run()
    assert_nothing_is_left(network)


def test_who_waits_for_durability_when_the_node_stops_is_told(
    network: SimulatedNetwork,
) -> None:
    disk = HeldDisk()
    network = SimulatedNetwork(disk=disk)
    alice = network.node("Alice", apps=[deposit])
    network.loop.call_at(network.clock.now_ms() + 5, alice.stop)

    with pytest.raises(NodeStopped):
        alice.host.run_atomic(add, "anna", 5)
