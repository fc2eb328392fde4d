"""The tests that every `runtime.operations.NodeOperations` must pass, of a node or of a fake.

Subclass `OperationsConformance` in a test module and give it a fixture ``harness``::

    class TestMyNode(OperationsConformance):
        @pytest.fixture
        def harness(self) -> Iterator[OperationsHarness]: ...

The node under test has four flows, whose names the harness knows; `OperationsHarness` says what
they do.
"""

# ruff: noqa: D102  the names of the tests are sentences

from collections.abc import Callable
from typing import Final, Protocol

import pytest

from runtime.codec import pack, unpack_any
from runtime.errors import (
    BadArguments,
    ClientIdInvalid,
    ClientIdTaken,
    FlowException,
    FlowKilled,
    MisuseError,
    NodeStopped,
    PermissionDenied,
    ResultNotReady,
    UnknownFlow,
)
from runtime.ids import FlowId, UserName
from runtime.operations import Arguments, FlowDetail, FlowFilter, JournalRow, NodeOperations

ANN: Final = UserName("ann")
BOB: Final = UserName("bob")

NO_FLOW: Final = (
    FlowId("01890a5d-ac96-774b-bcce-b302099a8057"),
    FlowId("no id at all"),
    FlowId(""),
)


class OperationsHarness(Protocol):
    """A node that runs, and what the suite needs to know of it."""

    @property
    def operations(self) -> NodeOperations:
        """What is tested."""

    @property
    def add(self) -> str:
        """The name of a flow ``(left: int, right: int) -> int`` that returns the sum."""

    @property
    def refuse(self) -> str:
        """The name of a flow ``(price: int)`` that raises a `FlowException`."""

    @property
    def wait(self) -> str:
        """The name of a flow ``()`` that waits for longer than any test takes."""

    @property
    def hold(self) -> str:
        """The name of a flow ``()`` that is held; retried, it returns ``"repaired"``."""

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether somebody has asked the node to stop."""

    def let_time_pass(self) -> None:
        """Let a millisecond pass, so that the next flow begins in another one."""

    def run_until(self, is_done: Callable[[], bool]) -> None:
        """Let the node run until ``is_done``; fail after a time that no working node takes."""


class OperationsConformance:
    """Inherit from it and define the fixture ``harness``."""

    # Starting

    def test_a_flow_is_started_with_text_or_with_packed_values(
        self, harness: OperationsHarness
    ) -> None:
        asked = harness.operations
        flow_ids = [
            asked.start_flow(ANN, harness.add, arguments, None)
            for arguments in (
                Arguments(["3", "4"]),
                Arguments(["right=4", "left=3"]),
                Arguments(["3"], {"right": "4"}),
                Arguments([pack(3)], {"right": pack(4)}),
            )
        ]

        results = [asked.result(flow_id, 20) for flow_id in flow_ids]

        assert len(set(flow_ids)) == 4
        assert [unpack_any(result.value) for result in results] == [7] * 4
        assert [result.text for result in results] == ["7"] * 4

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (Arguments(["1"]), "right"),
            (Arguments(["1", "two"]), "right"),
            (Arguments([pack(1), pack("two")]), "right"),
            (Arguments(["1", "2", "3"]), "3"),
            (Arguments(["1", "2"], {"wrong": "2"}), "wrong"),
            (Arguments(["left=1", "left=2", "right=3"]), "left"),
        ],
    )
    def test_arguments_that_do_not_fit_are_refused_by_name_and_start_nothing(
        self, harness: OperationsHarness, arguments: Arguments, named: str
    ) -> None:
        with pytest.raises(BadArguments, match=named):
            harness.operations.start_flow(ANN, harness.add, arguments, "id")

        assert harness.operations.flows(FlowFilter()).rows == []
        assert harness.operations.find(ANN, "id") is None

    def test_a_flow_that_is_not_installed_is_not_started(self, harness: OperationsHarness) -> None:
        with pytest.raises(UnknownFlow, match=r"nowhere\.to_be_found"):
            harness.operations.start_flow(ANN, "nowhere.to_be_found", Arguments(), None)

        assert harness.operations.flows(FlowFilter()).rows == []

    def test_what_can_be_started_is_listed_by_name_with_its_signature(
        self, harness: OperationsHarness
    ) -> None:
        kinds = harness.operations.flow_names()

        names = [kind.name for kind in kinds]
        signatures = {kind.name: kind.signature for kind in kinds}
        assert names == sorted(names)
        assert {harness.add, harness.refuse, harness.wait, harness.hold} <= set(names)
        assert signatures[harness.add] == "(left: int, right: int) -> int"

    # Client ids

    @pytest.mark.parametrize("is_ended", [False, True])
    def test_a_client_id_gives_the_same_flow_again(
        self, harness: OperationsHarness, is_ended: bool
    ) -> None:
        flow_id = start(harness, "id", is_ended=is_ended)

        again = start(harness, "id", is_ended=is_ended)

        assert again == flow_id
        assert harness.operations.find(ANN, "id") == flow_id
        assert len(harness.operations.flows(FlowFilter()).rows) == 1

    def test_a_repeat_that_asks_for_something_else_is_refused(
        self, harness: OperationsHarness
    ) -> None:
        asked = harness.operations
        flow_id = start(harness, "id", is_ended=True)
        others = Arguments(["5", "5"])

        for name, arguments in ((harness.add, others), (harness.wait, Arguments())):
            with pytest.raises(ClientIdTaken, match="'id'"):
                asked.start_flow(ANN, name, arguments, "id")
        with pytest.raises(ClientIdTaken, match="'id'"):
            asked.start_flow(ANN, harness.add, Arguments(["1", "2"]), "id", "refuse")
        attached = asked.start_flow(ANN, harness.add, others, "id", "attach")

        assert attached == flow_id
        assert len(asked.flows(FlowFilter()).rows) == 1

    def test_a_client_id_belongs_to_its_user(self, harness: OperationsHarness) -> None:
        asked = harness.operations
        flow_id = start(harness, "id", is_ended=True)

        with pytest.raises(PermissionDenied, match="'id'"):
            asked.start_flow(BOB, harness.add, Arguments(["1", "2"]), "id")
        with pytest.raises(PermissionDenied, match="'id'"):
            asked.forget(BOB, "id")

        assert asked.find(BOB, "id") is None
        assert asked.find(ANN, "id") == flow_id
        assert asked.find(ANN, "another") is None

    @pytest.mark.parametrize("client_id", ["", "x" * 513])
    def test_a_client_id_has_1_to_512_characters(
        self, harness: OperationsHarness, client_id: str
    ) -> None:
        asked = harness.operations

        with pytest.raises(ClientIdInvalid):
            asked.start_flow(ANN, harness.add, Arguments(["1", "2"]), client_id)
        with pytest.raises(ClientIdInvalid):
            asked.find(ANN, client_id)

        assert asked.flows(FlowFilter()).rows == []

    def test_what_is_kept_for_a_client_id_is_forgotten_once(
        self, harness: OperationsHarness
    ) -> None:
        asked = harness.operations
        flow_id = start(harness, "id", is_ended=True)
        start(harness, "running", is_ended=False)

        asked.forget(ANN, "id")
        with pytest.raises(ClientIdInvalid, match="'id'"):
            asked.forget(ANN, "id")
        with pytest.raises(MisuseError, match="'running'"):
            asked.forget(ANN, "running")
        anew = asked.start_flow(ANN, harness.add, Arguments(["5", "5"]), "id")

        assert anew != flow_id
        assert asked.result(anew, 20).text == "10"

    # Ends

    def test_a_flow_that_has_not_ended_has_no_result_yet(self, harness: OperationsHarness) -> None:
        flow_id = start(harness, None, is_ended=False)

        for seconds in (0, 0.01):
            with pytest.raises(ResultNotReady):
                harness.operations.result(flow_id, seconds)

        assert not harness.operations.flow(flow_id).row.is_ended

    def test_what_a_flow_raised_is_raised_and_told(self, harness: OperationsHarness) -> None:
        asked = harness.operations
        flow_id = asked.start_flow(ANN, harness.refuse, Arguments(["120"]), "refused")

        with pytest.raises(FlowException, match="120"):
            asked.result(flow_id, 20)

        detail = asked.flow(flow_id)
        assert (detail.row.status, detail.result) == ("failed", None)
        assert "120" in detail.error
        assert "120" in detail.row.error
        assert detail.error_id

    def test_a_killed_flow_is_killed_once_and_tells_so(self, harness: OperationsHarness) -> None:
        asked = harness.operations
        flow_id = start(harness, "killed", is_ended=False)

        killed = [asked.kill(flow_id), asked.kill(flow_id)]

        assert killed == [True, False]
        assert asked.flow(flow_id).row.status == "killed"
        with pytest.raises(FlowKilled):
            asked.result(flow_id, 20)

    def test_a_held_flow_says_so_and_goes_on_when_it_is_retried(
        self, harness: OperationsHarness
    ) -> None:
        asked = harness.operations
        flow_id = asked.start_flow(ANN, harness.hold, Arguments(), "held")
        harness.run_until(lambda: asked.flow(flow_id).row.status == "held")
        detail, held = asked.flow(flow_id), asked.info().flows_held
        with pytest.raises(ResultNotReady):
            asked.result(flow_id, 0)

        asked.retry(flow_id)

        assert asked.result(flow_id, 20).text == "'repaired'"
        assert (detail.row.status, held) == ("held", 1)
        assert detail.error.startswith("held")
        assert detail.error_id
        assert asked.info().flows_held == 0

    def test_only_a_held_flow_is_retried(self, harness: OperationsHarness) -> None:
        running = start(harness, None, is_ended=False)
        ended = start(harness, "ended", is_ended=True)

        for flow_id in (running, ended):
            with pytest.raises(MisuseError, match="held"):
                harness.operations.retry(flow_id)

    # Looking

    def test_a_flow_shows_who_started_it_and_how_it_is(self, harness: OperationsHarness) -> None:
        asked = harness.operations
        running = asked.flow(start(harness, "running", is_ended=False))
        ended = asked.flow(start(harness, "ended", is_ended=True))

        assert (running.row.name, running.row.user, running.row.client_id) == (
            harness.wait,
            ANN,
            "running",
        )
        assert running.row.status == "waiting"
        assert running.wait is not None
        assert running.row.waits_for
        assert running.row.ended_ms is None
        assert (ended.row.status, ended.result and ended.result.text) == ("completed", "3")
        assert ended.wait is None
        assert ended.row.ended_ms is not None
        assert running.row.started_ms <= ended.row.started_ms <= ended.row.ended_ms

    def test_flows_are_listed_newest_first_page_by_page(self, harness: OperationsHarness) -> None:
        asked = harness.operations
        flow_ids = [start(harness, f"id {n}", is_ended=n % 2 == 0) for n in range(5)]

        first = asked.flows(FlowFilter(limit=2))
        second = asked.flows(FlowFilter(limit=2, before=first.rest_before))
        third = asked.flows(FlowFilter(limit=2, before=second.rest_before))

        pages = [[row.id for row in page.rows] for page in (first, second, third)]
        assert pages == [flow_ids[:2:-1], flow_ids[2:0:-1], flow_ids[:1]]
        assert third.rest_before is None

    def test_lists_are_filtered_by_name_status_user_and_time(
        self, harness: OperationsHarness
    ) -> None:
        asked = harness.operations
        running = start(harness, "running", is_ended=False)
        ended = start(harness, "ended", is_ended=True)
        harness.let_time_pass()
        of_bob = asked.start_flow(BOB, harness.add, Arguments(["1", "2"]), "bob")
        asked.result(of_bob, 20)
        latest_ms = asked.flow(of_bob).row.started_ms

        def listed(wanted: FlowFilter) -> list[str]:
            return [row.id for row in asked.flows(wanted).rows]

        assert listed(FlowFilter(name=harness.wait)) == [running]
        assert listed(FlowFilter(name=f"*{harness.add[1:]}")) == [of_bob, ended]
        assert listed(FlowFilter(statuses=["completed"])) == [of_bob, ended]
        assert listed(FlowFilter(statuses=["waiting", "completed"])) == [of_bob, ended, running]
        assert listed(FlowFilter(statuses=["held"])) == []
        assert listed(FlowFilter(user=ANN)) == [ended, running]
        assert listed(FlowFilter(since_ms=latest_ms + 1)) == []
        assert len(listed(FlowFilter(since_ms=0))) == 3

    def test_a_journal_is_read_page_by_page_to_its_end(self, harness: OperationsHarness) -> None:
        asked = harness.operations
        flow_id = start(harness, None, is_ended=False)

        whole: list[JournalRow] = []
        while page := asked.journal(flow_id, len(whole), 1_000):
            whole += page
        one_by_one = [row for n in range(len(whole)) for row in asked.journal(flow_id, n, 1)]

        assert [row.index for row in whole] == list(range(len(whole)))
        assert whole[0].kind.lower() == "started"
        assert one_by_one == whole
        assert asked.journal(flow_id, len(whole), 10) == []

    def test_a_watch_tells_of_changes_up_to_the_end_until_it_is_closed(
        self, harness: OperationsHarness
    ) -> None:
        asked = harness.operations
        flow_id = start(harness, None, is_ended=False)
        calls: dict[str, list[None]] = {"open": [], "closed": []}
        watch = asked.watch(flow_id, lambda: calls["open"].append(None))
        closed = asked.watch(flow_id, lambda: calls["closed"].append(None))
        before = watch.detail().row.status
        closed.close()
        closed.close()
        for each in calls.values():
            each.clear()

        asked.kill(flow_id)
        harness.run_until(lambda: watch.detail().row.is_ended)

        detail: FlowDetail = watch.detail()
        watch.close()
        assert (before, detail.row.status) == ("waiting", "killed")
        assert calls["open"]
        assert calls["closed"] == []

    @pytest.mark.parametrize("flow_id", NO_FLOW)
    def test_a_flow_that_is_not_there_is_told_by_every_verb(
        self, harness: OperationsHarness, flow_id: FlowId
    ) -> None:
        asked = harness.operations

        for verb in (
            lambda: asked.flow(flow_id),
            lambda: asked.result(flow_id, 0),
            lambda: asked.journal(flow_id, 0, 10),
            lambda: asked.watch(flow_id, lambda: None),
            lambda: asked.retry(flow_id),
            lambda: asked.kill(flow_id),
        ):
            with pytest.raises(UnknownFlow):
                verb()

    # The node

    def test_a_draining_node_starts_no_flows_and_gives_those_it_has(
        self, harness: OperationsHarness
    ) -> None:
        asked = harness.operations
        flow_id = start(harness, "id", is_ended=False)

        asked.drain(is_on=True)
        is_draining = asked.info().is_draining
        with pytest.raises(NodeStopped, match="drain"):
            asked.start_flow(ANN, harness.add, Arguments(["1", "2"]), None)
        attached = start(harness, "id", is_ended=False)
        asked.drain(is_on=False)
        anew = asked.start_flow(ANN, harness.add, Arguments(["1", "2"]), None)

        assert (is_draining, asked.info().is_draining) == (True, False)
        assert attached == flow_id
        assert asked.result(anew, 20).text == "3"

    def test_a_node_says_who_it_is_and_how_many_flows_it_has(
        self, harness: OperationsHarness
    ) -> None:
        asked = harness.operations
        before = asked.info()
        start(harness, None, is_ended=False)
        start(harness, "ended", is_ended=True)
        after = asked.info()

        assert before.name == after.name
        assert before.name.startswith("O=")
        assert before.identity == after.identity != ""
        assert (before.flows_live, after.flows_live) == (0, 1)
        assert (before.flows_held, before.is_draining) == (0, False)

    def test_nobody_asks_for_a_flow_that_nobody_asked_for(self, harness: OperationsHarness) -> None:
        assert harness.operations.drop_unclaimed("nobody.asked") == 0

    def test_a_stop_is_asked_for_and_returns(self, harness: OperationsHarness) -> None:
        before = harness.is_asked_to_stop

        harness.operations.stop()

        assert (before, harness.is_asked_to_stop) == (False, True)


def start(harness: OperationsHarness, client_id: str | None, *, is_ended: bool) -> FlowId:
    """Start a flow of ann's, and wait until it waits or until it has ended."""
    asked = harness.operations
    harness.let_time_pass()
    if is_ended:
        flow_id = asked.start_flow(ANN, harness.add, Arguments(["1", "2"]), client_id)
        asked.result(flow_id, 20)
    else:
        flow_id = asked.start_flow(ANN, harness.wait, Arguments(), client_id)
        harness.run_until(lambda: asked.flow(flow_id).row.status == "waiting")
    return flow_id
