"""A node that is flooded by a member, killed in the middle of it, and started again."""

from contextlib import closing
from typing import Final

import gevent

from runtime.ids import PeerName
from runtime.network_bootstrap import CreatedNode
from runtime.node import Node
from runtime.testing.driver import NetworkDriver, NodeProcess
from tests.runtime.edge.zmq_hostile import connecting
from tests.runtime.test_hostile_members import APPS, LIMITS, NETWORK, Mallory, ask, flood

VICTIM: Final = 'name = "O=Victim,L=London,C=GB"\n'
KILLS: Final = 2


def of_mallory(node: NodeProcess) -> CreatedNode:
    config = node.config
    return CreatedNode(
        name=config.name,
        short_name=node.short_name,
        directory=node.directory,
        p2p_address=config.p2p_address,
        rpc_address=config.rpc_address,
        notary=None,
    )


def test_a_flooded_node_that_is_killed_and_restarted_keeps_its_bounds_and_serves_others() -> None:
    # Breaks when what was kept for a member is not counted again after a restart.
    spec = NETWORK.replace(VICTIM, f'{VICTIM}apps = ["tests.runtime.test_hostile_members"]\n')
    with NetworkDriver.create(spec) as network:
        victim = network.node("victim")
        config = victim.directory / "node.toml"
        config.write_text(config.read_text() + LIMITS)
        victim.start()
        me = of_mallory(network.node("mallory"))
        with (
            closing(Mallory(me, PeerName(victim.name))) as mallory,
            connecting(mallory.victim_address, mallory.keys) as bare,
            Node(network.node("innocent").directory, apps=APPS, sync=False) as innocent,
        ):

            def run() -> None:
                for _ in flood(mallory, bare):
                    gevent.sleep(0.001)

            harm = gevent.spawn(run)
            for _ in range(KILLS):
                victim.wait_until(lambda: sessions(victim) == 30, "been flooded", 30.0)
                asked = [innocent.start_flow(ask, innocent.party("Victim")) for _ in range(20)]
                victim.kill()
                victim.start()

                assert {each.result(timeout=30.0) for each in asked} == {"well"}
                assert sessions(victim) == 30
            assert not harm.ready(), harm.exception
            harm.kill()


def sessions(node: NodeProcess) -> int:
    """Return how many sessions the peer has that has most."""
    return {row.name: row.in_use for row in node.rpc.info().limits}["sessions_per_peer_max"]
