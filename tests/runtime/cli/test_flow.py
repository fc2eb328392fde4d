"""The commands ``sennit flow`` and ``sennit journal``, against a node that answers by RPC."""

import json

import gevent
import pytest
from click.testing import CliRunner, Result

from runtime.cli.main import cli
from runtime.errors import FlowFailed
from runtime.operations import FlowDetail
from tests.runtime.cli.conftest import Demo, serve
from tests.runtime.edge.fake_node import FakeFlow


def sennit(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, words, env=environment)


def started(demo: Demo, *words: str) -> str:
    return sennit("flow", "start", demo.bank_a, *words, "--no-watch").stdout.strip()


# Start


def test_start_watches_to_the_end_and_prints_the_result(demo: Demo) -> None:
    result = sennit("flow", "start", demo.bank_a, "trade.add", "left=3", "right=4")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "trade.add  0190-0000",
        "✓ Asking",
        "✓ Paying",
        "completed after 1 s: 7",
    ]


def test_start_finds_a_flow_by_the_end_of_its_name(demo: Demo) -> None:
    assert sennit("flow", "start", demo.bank_a, "add", "1", "2").exit_code == 0


def test_start_without_watching_prints_the_id_only(demo: Demo) -> None:
    result = sennit("flow", "start", demo.bank_a, "wait", "--no-watch")

    assert result.stdout == "0190-0000\n"


def test_start_with_a_client_id_starts_once(demo: Demo) -> None:
    first = started(demo, "wait", "--client-id", "order-17")
    second = started(demo, "wait", "--client-id", "order-17")

    assert first == second == "0190-0000"


def test_a_flow_that_fails_ends_the_command_with_1(demo: Demo) -> None:
    result = sennit("flow", "start", demo.bank_a, "buy", "120")

    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == (
        "failed after 1 s: the price 120 is too high (error id 00ff00ff00ff00ff)"
    )


def test_start_prints_one_json_value(demo: Demo) -> None:
    ended = json.loads(sennit("flow", "start", demo.bank_a, "add", "1", "2", "--json").stdout)
    begun = json.loads(sennit("flow", "start", demo.bank_a, "wait", "--json", "--no-watch").stdout)

    assert (ended["status"], ended["result"], ended["result_text"]) == ("completed", 3, "3")
    assert begun == {"id": "0190-0001", "name": "trade.wait"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sell"], "this node has no flow 'sell'; it has trade.add, trade.buy"),
        (["bay"], "this node has no flow 'bay'; did you mean trade.buy?"),
        (
            ["add", "1"],
            "right is missing; for example right=42. Signature: add(left: int, ",
        ),
        ([], "which flow? List them with: sennit flow names"),
    ],
)
def test_what_can_not_be_started_is_said_in_one_line(
    demo: Demo, words: list[str], said: str
) -> None:
    result = sennit("flow", "start", demo.bank_a, *words)

    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_who_may_not_start_a_flow_is_told_what_is_missing(demo: Demo) -> None:
    result = sennit("flow", "start", demo.bank_a, "wait", "--user", "clerk")

    assert result.exit_code == 2
    assert "user 'clerk' may not start trade.wait" in result.stderr
    assert sennit("flow", "start", demo.bank_a, "add", "1", "2", SENNIT_USER="clerk").exit_code == 0


# Look


def test_names_shows_signatures_and_docstrings(demo: Demo) -> None:
    lines = sennit("flow", "names", demo.bank_a).stdout.splitlines()

    assert lines[:3] == [
        "trade.add(left: int, right: int) -> int",
        "    Add two numbers.",
        "trade.buy(price: int) -> str  version 2",
    ]
    names = json.loads(sennit("flow", "names", demo.bank_a, "--json").stdout)
    assert names[0]["name"] == "trade.add"


def test_list_shows_flows_newest_first_and_why_they_wait(demo: Demo) -> None:
    started(demo, "wait")
    started(demo, "buy", "120")

    lines = sennit("flow", "list", demo.bank_a).stdout.splitlines()

    assert lines[0].split() == ["ID", "FLOW", "STATUS", "STARTED", "USER", "WAITS", "FOR"]
    assert lines[1].split()[:3] == ["0190-0001", "trade.buy", "failed"]
    assert lines[1].rstrip().endswith("the price 120 is too high")
    assert lines[2].rstrip().endswith("admin  a message from O=Seller")


def test_list_goes_page_by_page_and_says_when_there_may_be_more(demo: Demo) -> None:
    for number in range(3):
        sennit("flow", "start", demo.bank_a, "add", str(number), "1", "--no-watch")
    in_one = sennit("flow", "list", demo.bank_a, "--json")
    ids = [row["id"] for row in json.loads(in_one.stdout)]

    first = sennit("flow", "list", demo.bank_a, "--limit", "2", "--json")
    before = first.stderr.split()[-1]
    second = sennit("flow", "list", demo.bank_a, "--limit", "2", "--json", "--before", before)

    assert (in_one.stderr, second.stderr) == ("", "")
    assert first.stderr.startswith("there may be more; go on with the same and: --before ")
    assert [row["id"] for row in json.loads(first.stdout)] == ids[:2]
    assert [row["id"] for row in json.loads(second.stdout)] == ids[2:]


def test_list_filters(demo: Demo) -> None:
    started(demo, "wait")
    started(demo, "buy", "120")

    waiting = sennit("flow", "list", demo.bank_a, "--status", "waiting", "--json").stdout
    bought = sennit("flow", "list", demo.bank_a, "--name", "*.buy", "--json").stdout
    none = sennit("flow", "list", demo.bank_a, "--status", "held").stdout

    assert [row["id"] for row in json.loads(waiting)] == ["0190-0000"]
    assert [row["id"] for row in json.loads(bought)] == ["0190-0001"]
    assert none == "no flows\n"


def test_show_says_why_a_flow_is_not_running(demo: Demo) -> None:
    flow_id = started(demo, "wait")

    text = sennit("flow", "show", demo.bank_a, flow_id).stdout

    assert "status:    waiting\n" in text
    assert "waits for: a message of type Offer from O=Seller,L=London,C=GB, since 20" in text
    assert "woken by:  the seller's answer" in text
    assert "▶ Asking\n· Paying" in text
    assert "SESSION  PEER" in text


def test_show_of_an_ended_flow_shows_its_end(demo: Demo) -> None:
    failed, added = started(demo, "buy", "120"), started(demo, "add", "1", "2")

    of_failed = sennit("flow", "show", demo.bank_a, failed).stdout
    of_added = json.loads(sennit("flow", "show", demo.bank_a, added, "--json").stdout)

    assert "error id:  00ff00ff00ff00ff" in of_failed
    assert ", after 1 s" in of_failed
    assert of_added["result"] == 3


@pytest.mark.parametrize("text", ["0190-0000", "0190", "-0000", "order-17"])
def test_a_flow_is_found_by_part_of_its_id_or_by_its_client_id(demo: Demo, text: str) -> None:
    started(demo, "wait", "--client-id", "order-17")

    result = sennit("flow", "show", "--node", demo.bank_a, "--json", "--", text)

    assert json.loads(result.stdout)["id"] == "0190-0000"


def test_an_id_that_fits_several_flows_or_none_is_refused(demo: Demo) -> None:
    started(demo, "wait")
    started(demo, "wait")

    several = sennit("flow", "show", demo.bank_a, "0190")
    none = sennit("flow", "show", demo.bank_a, "7")
    full = sennit("flow", "show", demo.bank_a, "01890a5d-ac96-774b-bcce-b302099a8057")

    assert (several.exit_code, none.exit_code, full.exit_code) == (2, 2, 2)
    assert "may be any of these flows; write more of it: 0190-0001, 0190-0000" in several.stderr
    assert "no flow '7' that you may see; list them with: sennit flow list" in none.stderr
    assert "no flow with the id 01890a5d" in full.stderr


def test_watch_draws_each_step_until_the_end(demo: Demo) -> None:
    flow_id = started(demo, "wait")
    flow = next(iter(demo.node.by_id.values()))

    def live() -> None:
        while not flow.watchers:
            gevent.sleep(0.01)
        gevent.sleep(0.1)
        flow.progress.set("Paying")
        gevent.sleep(0.1)
        demo.node.end(flow, result=["paper", 95])

    living = gevent.spawn(live)
    result = sennit("flow", "watch", demo.bank_a, flow_id)
    living.get()

    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "▶ Asking",
        "▶ Paying",
        "completed after 1 s: ['paper', 95]",
    ]


def test_watch_tells_when_the_node_is_gone_and_when_it_is_back(demo: Demo) -> None:
    flow_id = started(demo, "wait")
    flow = next(iter(demo.node.by_id.values()))

    def crash_and_end() -> None:
        while not flow.watchers:
            gevent.sleep(0.01)
        demo.server.close()
        gevent.sleep(0.05)
        demo.server = serve(demo.bank_a, demo.node)
        while not flow.watchers:
            gevent.sleep(0.01)
        demo.node.end(flow)

    living = gevent.spawn(crash_and_end)
    result = sennit("flow", "watch", demo.bank_a, flow_id)
    living.get()

    assert result.stderr.splitlines() == [
        "the node is gone; waiting for it ...",
        "the node is back",
    ]
    assert result.stdout.splitlines()[-1] == "completed after 1 s"


def test_a_terminal_shows_why_the_flow_waits_and_what_to_do_about_a_held_one(demo: Demo) -> None:
    flow_id = started(demo, "wait")
    flow = next(iter(demo.node.by_id.values()))

    def hold_and_end() -> None:
        while not flow.watchers:
            gevent.sleep(0.01)
        gevent.sleep(0.1)
        flow.status = "held"
        flow.changed()
        gevent.sleep(0.1)
        demo.node.end(flow)

    living = gevent.spawn(hold_and_end)
    result = sennit("flow", "watch", demo.bank_a, flow_id, FORCE_COLOR="1", COLUMNS="150")
    living.get()

    assert "waits for a message of type Offer from O=Seller,L=London,C=GB, since" in result.stdout
    assert f"When the cause is mended: sennit flow retry {demo.bank_a} {flow_id}" in result.stdout


def test_of_many_sessions_it_is_said_how_many_more_there_are(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow_id = started(demo, "wait")
    whole = demo.node.detail

    def with_many(flow: FakeFlow) -> FlowDetail:
        detail = whole(flow)
        return FlowDetail(row=detail.row, sessions=detail.sessions, sessions_total=1_001)

    monkeypatch.setattr(demo.node, "detail", with_many)

    assert "and 1000 more sessions" in sennit("flow", "show", demo.bank_a, flow_id).stdout


# Result and intervention


def test_result_prints_what_the_flow_returned(demo: Demo) -> None:
    flow_id = started(demo, "add", "1", "2")

    assert sennit("flow", "result", demo.bank_a, flow_id).stdout == "3\n"
    assert json.loads(sennit("flow", "result", demo.bank_a, flow_id, "--json").stdout) == {
        "result": 3,
        "text": "3",
    }


def test_result_of_a_flow_that_failed_is_its_error_in_one_line(demo: Demo) -> None:
    refused, broken = started(demo, "buy", "120"), started(demo, "wait")
    demo.node.end(
        demo.node.by_id[next(reversed(demo.node.by_id))],
        error=FlowFailed("00ff", "builtins.ValueError", "no"),
    )

    of_refused = sennit("flow", "result", demo.bank_a, refused)
    of_broken = sennit("flow", "result", demo.bank_a, broken)

    assert (of_refused.exit_code, of_broken.exit_code) == (1, 1)
    assert of_refused.stderr == (
        "sennit: the flow ended with UnacceptablePrice: the price 120 is too high\n"
    )
    assert of_broken.stderr == "sennit: builtins.ValueError: no (error id 00ff)\n"


def test_result_gives_up_after_the_timeout(demo: Demo) -> None:
    flow_id = started(demo, "wait")

    result = sennit("flow", "result", demo.bank_a, flow_id, "--timeout", "0.05")

    assert result.exit_code == 1
    assert "has not ended yet" in result.stderr


def test_kill_and_retry_say_what_was_done(demo: Demo) -> None:
    held, flow_id = started(demo, "hold"), started(demo, "wait")

    retried = sennit("flow", "retry", demo.bank_a, held).stdout
    refused = sennit("flow", "retry", demo.bank_a, flow_id)
    killed = sennit("flow", "kill", demo.bank_a, flow_id).stdout
    again = sennit("flow", "kill", demo.bank_a, flow_id).stdout
    watched = sennit("flow", "watch", demo.bank_a, flow_id)

    assert retried == f"{held} runs again; follow it with: sennit flow watch {demo.bank_a} {held}\n"
    assert "only a held flow can be retried" in refused.stderr
    assert (killed, again) == (f"{flow_id} was killed\n", f"{flow_id} had ended before\n")
    assert watched.exit_code == 1


def test_forget_says_what_was_done_and_asks_for_what_is_missing(demo: Demo) -> None:
    started(demo, "add", "1", "2", "--client-id", "order-17")
    forgotten = sennit("flow", "forget", demo.bank_a, "order-17")
    again = sennit("flow", "forget", demo.bank_a, "order-17")
    unnamed = sennit("flow", "forget", demo.bank_a)

    assert forgotten.stdout == "nothing is kept for order-17 any more\n"
    assert "nothing is kept for client id 'order-17'" in again.stderr
    assert unnamed.exit_code == 2
    assert "which client id?" in unnamed.stderr


def test_who_asks_for_what_is_not_installed_is_listed_and_dropped(demo: Demo) -> None:
    listed = sennit("node", "unclaimed", demo.bank_a).stdout
    as_json = sennit("node", "unclaimed", demo.bank_a, "--json").stdout
    dropped = sennit("node", "drop", demo.bank_a, "other.sell")
    nobody = sennit("node", "drop", demo.bank_a, "sell")

    assert "other.sell" in listed
    assert '"since_ms": 5' in as_json
    assert dropped.stdout == "refused 1 for other.sell\n"
    assert nobody.exit_code == 1
    assert "nobody asks for 'sell'" in nobody.stderr


def test_journal_prints_every_event(demo: Demo) -> None:
    flow_id = started(demo, "wait")

    lines = sennit("journal", demo.bank_a, flow_id).stdout.splitlines()
    values = [
        json.loads(line)
        for line in sennit("journal", demo.bank_a, flow_id, "--json").stdout.splitlines()
    ]

    assert lines[0].split() == ["INDEX", "TIME", "KIND", "PLACE", "BYTES", "PEER,", "VALUE"]
    assert lines[2].split()[3:] == ["sent", "1", "40", "O=Seller", "Offer(price=3)"]
    assert [value["kind"] for value in values] == ["started", "sent", "received"]


@pytest.mark.parametrize(
    "words",
    [
        ["flow", "list", "x"],
        ["node", "info", "x"],
        ["flow", "show"],
        ["flow", "show", "x", "y"],
        ["flow", "list", "--status", "odd"],
        ["flow", "nothing"],
    ],
)
def test_words_that_make_no_sense_are_refused_with_2(demo: Demo, words: list[str]) -> None:
    result = sennit(*words, SENNIT_NODE=demo.bank_a)

    assert result.exit_code == 2
    assert "Usage: " in result.stderr
