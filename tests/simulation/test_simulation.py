"""The simulation itself: it repeats, it finds what is wrong, it says how to see it again."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from runtime import Session, flow, initiate, responder
from runtime.core.events import JOURNAL
from runtime.party import Party
from runtime.ports import Batch
from runtime.testing.faults import Fault
from runtime.testing.network import SimulatedNode
from runtime.testing.simulation import (
    HistoryFailed,
    Scenario,
    crash_points,
    main,
    repeat_command,
    simulate,
)
from runtime.testing.world import World, returned
from tests.simulation import scenarios


@pytest.mark.parametrize("scenario", [scenarios.killings, scenarios.hard_work])
def test_the_same_seed_makes_the_same_history(scenario: Scenario) -> None:
    for seed in range(5):
        first = simulate(seed, scenario)
        second = simulate(seed, scenario)

        assert first == second


def test_another_seed_makes_another_history() -> None:
    digests = {simulate(seed, scenarios.ping_pong).digest for seed in range(20)}

    assert len(digests) == 20


def test_a_history_does_not_hang_on_hashes() -> None:
    code = (
        "from runtime.testing.simulation import simulate\n"
        "from tests.simulation.scenarios import delegation\n"
        "print([simulate(seed, delegation).digest for seed in range(3)])"
    )

    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(printed) == 1


def test_seeds_draw_different_kinds_of_fault() -> None:
    histories = [simulate(seed, scenarios.soliloquy) for seed in range(50)]

    for kind in Fault:
        count = sum(kind.value in history.faults for history in histories)
        assert 5 <= count <= 45, kind
    assert sum(history.crashes > 2 for history in histories) > 10


# --- a scenario as a user would write it ------------------------------------------------


@flow
def ask(peer: Party, question: str) -> str:
    return initiate(peer).exchange(question, str).unwrap(lambda answer: answer)


@responder(ask)
def answer(session: Session) -> None:
    question = session.receive(str).unwrap(lambda question: question)
    session.send(question.upper())


def questions(world: World) -> None:
    alice = world.node("Alice", apps=[ask])
    bob = world.node("Bob", apps=[ask, answer])
    for number in range(5):
        request = world.request(alice, ask, bob.party, f"question {number}")
        request.after(world.random.uniform(0, 2)).expect(returned(f"QUESTION {number}"))


def test_a_users_own_flows_survive() -> None:
    for seed in range(20):
        simulate(seed, questions)


def disappointment(world: World) -> None:
    alice = world.node("Alice", apps=[ask])
    bob = world.node("Bob", apps=[ask, answer])
    world.request(alice, ask, bob.party, "what?").expect(returned("nothing"))


def test_an_unexpected_outcome_is_reported_with_the_command_that_repeats_it() -> None:
    with pytest.raises(HistoryFailed) as raised:
        simulate(5, disappointment)

    report = str(raised.value)
    assert "ended with the result 'WHAT?', expected was returned('nothing')" in report
    assert repeat_command(5, disappointment) in report


def watched(world: World) -> None:
    def no_third_event(node: SimulatedNode, batch: Batch) -> None:
        events = [int.from_bytes(key[16:], "big") for key in batch.writes.get(JOURNAL, ())]
        assert not any(index == 2 for index in events), "a flow went on"

    questions(world)
    world.watch(no_third_event)


def test_what_a_watcher_does_not_like_ends_the_history_at_that_commit() -> None:
    with pytest.raises(HistoryFailed, match=r"(Alice|Bob), commit \d+ of all: a flow went on"):
        simulate(5, watched)


def test_the_command_repeats_a_history_and_shows_it() -> None:
    command = repeat_command(5, disappointment)

    result = CliRunner().invoke(main, command.split()[3:])

    assert result.exit_code == 1
    assert "Alice commit journal" in result.output
    assert "expected was returned('nothing')" in result.output


def test_the_command_repeats_a_crash_at_one_commit() -> None:
    crash = crash_points(5, questions)[3]
    command = repeat_command(5, questions, crash)

    result = CliRunner().invoke(main, command.split()[3:])

    assert result.exit_code == 0
    assert "Alice crashes" in result.output
    assert f"--crash Alice:2:{crash.fate.name}" in command


def test_the_command_hunts_through_many_seeds() -> None:
    name = f"{questions.__module__}:questions"

    result = CliRunner().invoke(main, ["--seeds", "5", "--scenario", name])

    assert result.exit_code == 0
    assert result.output.startswith("5 histories, 0 failed")
    assert "the slowest took" in result.output


def test_a_hunt_in_several_processes_finds_the_same_in_the_same_order() -> None:
    name = f"{disappointment.__module__}:{disappointment.__qualname__}"
    hunt = ["--seeds", "4", "--failures", "3", "--scenario", name]

    alone, shared = CliRunner().invoke(main, hunt), CliRunner().invoke(main, [*hunt, "--jobs", "2"])

    assert (alone.exit_code, shared.exit_code) == (1, 1)
    found = [result.output.partition("3 of 4 histories, 3 failed")[0] for result in (alone, shared)]
    assert found[0].count("repeat it: ") == 3
    assert found[0] == found[1]


def test_a_hunt_ends_in_the_time_given() -> None:
    name = f"{questions.__module__}:{questions.__qualname__}"

    result = CliRunner().invoke(main, ["--seeds", "5", "--minutes", "0", "--scenario", name])

    assert result.output.startswith("1 of 5 histories, 0 failed")
