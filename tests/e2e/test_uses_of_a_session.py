"""Semantics 2 between processes: each use of a session in each state, over ZeroMQ and on disk."""

from collections.abc import Iterator
from typing import Final

import pytest

from runtime.ids import FlowId
from runtime.operations import Arguments
from runtime.testing.driver import NetworkDriver, NodeProcess
from tests.runtime.engine.using_sessions import STATES, TABLE, USES

# Alice uses sessions; Bob answers; Carol has no responder; Dave is away until all have timed out.
SPEC: Final = """\
[network]
name = "uses"

[[node]]
name = "O=Alice,L=London,C=GB"
apps = ["tests.runtime.engine.using_sessions"]

[[node]]
name = "O=Bob,L=Paris,C=FR"
apps = ["tests.runtime.engine.using_sessions", "tests.runtime.engine.answering_sessions"]

[[node]]
name = "O=Carol,L=Oslo,C=NO"
apps = ["tests.runtime.engine.using_sessions"]

[[node]]
name = "O=Dave,L=Rome,C=IT"
apps = ["tests.runtime.engine.using_sessions", "tests.runtime.engine.answering_sessions"]
"""

PEERS: Final = {"refused": "Carol", "opening": "Dave"}
PAUSE_SECONDS: Final = 2
PATIENCE_SECONDS: Final = 3
SECONDS_MAX: Final = 60.0


@pytest.fixture(scope="module")
def network() -> Iterator[NetworkDriver]:
    with NetworkDriver.create(SPEC) as network:
        network.start("alice", "bob", "carol")
        yield network


def start(alice: NodeProcess, state: str, how: str) -> FlowId:
    """Start the flow that uses one session once, and return its id."""
    written = [PEERS.get(state, "Bob"), state, f'["{how}"]', str(PAUSE_SECONDS)]
    arguments = Arguments([*written, str(PATIENCE_SECONDS)])
    return (
        alice.rpc.options().start_text("tests.runtime.engine.using_sessions.use_it", arguments).id
    )


def test_each_use_in_each_state(network: NetworkDriver) -> None:
    alice, dave = network.node("alice"), network.node("dave")
    flows = {(state, how): start(alice, state, how) for state in STATES for how in USES}
    here = {key: flow_id for key, flow_id in flows.items() if key[0] != "opening"}
    told = {key: alice.rpc.result(flow_id, SECONDS_MAX).text for key, flow_id in here.items()}
    # All waits for Dave are over by now: they began together.
    away = {key: flow_id for key, flow_id in flows.items() if key not in here}
    dave.start()
    told |= {key: alice.rpc.result(flow_id, SECONDS_MAX).text for key, flow_id in away.items()}

    expected = {(state, how): f'["{TABLE[state][how]}"]' for state in STATES for how in USES}
    assert {key: text.replace("'", '"') for key, text in told.items()} == expected
