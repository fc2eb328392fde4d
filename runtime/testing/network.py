"""`SimulatedNetwork`: whole nodes in one thread, on fake ports, for tests of your own flows.

    network = SimulatedNetwork()
    alice, bob = network.node("Alice", apps=[my_flows]), network.node("Bob", apps=[my_flows])
    handle = alice.start_flow(sell, bob.party, "bond", 95)
    assert handle.result() == "bought bond"      # runs the simulation as far as it takes

Nodes can be crashed and restarted; what was not durable is gone then. Time is virtual.
"""

from collections.abc import Callable, Sequence
from random import Random
from types import ModuleType
from typing import ParamSpec, Protocol, TypeVar

from runtime.engine.engine import Engine
from runtime.errors import NodeStopped
from runtime.flow import Flow, Responder
from runtime.handle import FlowHandle
from runtime.host import Host
from runtime.ids import PeerName
from runtime.limits import DEFAULT_PEER_LIMITS, PeerLimits
from runtime.names import X500Name
from runtime.node_operations import EngineOperations
from runtime.node_verbs import NodeVerbs
from runtime.party import Party
from runtime.ports import Batch
from runtime.testing.identities import Authority, KeyRing, SimulatedDirectory
from runtime.testing.memory_store import MemoryStore
from runtime.testing.memory_transport import MemoryNetwork, Policy, deliver_all
from runtime.testing.node_loop import NodeClock, NodeLoop
from runtime.testing.simulated_loop import SeededEntropy, SimulatedClock, SimulatedLoop

P = ParamSpec("P")
R = TypeVar("R")

App = ModuleType | Flow[..., object] | Responder


class Disk(Protocol):
    """Decides when what the nodes of a network write becomes durable."""

    def submitted(self, node: "SimulatedNode", batch: Batch) -> None:
        """Learn of a batch; call ``node.store.make_durable(1)`` for it at some time, or crash."""

    def landed(self, node: "SimulatedNode", batch: Batch) -> None:
        """Learn that a batch is durable, before the node does."""


class JournalRows(dict[bytes, bytes | None]):
    """Journal rows of one batch; a flow that ends deletes them in there, but not from ``put``."""

    def __init__(self) -> None:
        super().__init__()
        self.put: list[tuple[bytes, bytes]] = []

    def __setitem__(self, key: bytes, value: bytes | None) -> None:
        if value is not None:
            self.put.append((key, value))
        super().__setitem__(key, value)


class SimulatedNode(NodeVerbs):
    """One node of a simulated network. What waits runs the simulation as far as it takes."""

    def __init__(
        self,
        network: "SimulatedNetwork",
        name: str,
        party: Party,
        signer: KeyRing,
        apps: Sequence[App],
        install: Callable[[Host], None] | None,
        notary_role: str | None,
    ) -> None:
        self._network = network
        self.name = name
        self.party = party
        self.signer = signer
        self._apps = list(apps)
        self._install = install
        self._notary_role = notary_role
        self.lives = 0
        self.clock = NodeClock(network.clock)
        self.loop = NodeLoop(network.loop, self.clock)
        self.store = MemoryStore(
            network.loop,
            manual=network.disk is not None,
            watch=None if network.disk is None else _Watch(self, network.disk),
        )
        self.engine: Engine | None = None
        self._operations: EngineOperations | None = None
        self.start()

    @property
    def is_up(self) -> bool:
        """Tell whether the node runs."""
        return self.engine is not None

    @property
    def running(self) -> Engine:
        """The engine; raises if the node is down."""
        return self._live()

    def _live(self) -> Engine:
        if self.engine is None:
            raise NodeStopped(f"{self.party.name} is down; restart() it first")
        return self.engine

    @property
    def operations(self) -> EngineOperations:
        """What operators can ask of the node, by id and name."""
        self._live()
        assert self._operations is not None
        return self._operations

    def start(self) -> None:
        """Start, or start again from what is durable."""
        assert self.engine is None, "a node that is up can't be started again"
        network = self._network
        self.lives += 1
        self.loop = NodeLoop(network.loop, self.clock)
        host = Host(
            me=self.party,
            clock=self.clock,
            loop=self.loop,
            directory=network.directory,
            signer=self.signer,
            notary_role=self._notary_role,
        )
        host.register(*self._apps)
        if self._install is not None:
            self._install(host)
        self.engine = Engine(
            host=host,
            store=self.store,
            transport=network.links.transport(self.party.name),
            loop=self.loop,
            clock=self.clock,
            entropy=SeededEntropy(f"{network.seed}/{self.party.name}/{self.lives}"),
            journal_rows=JournalRows,
            is_replay_checked=network.is_replay_checked,
            peer_limits=network.peer_limits,
        )
        self._operations = EngineOperations(
            self.engine, addresses=(), ask_to_stop=self._asked_to_stop
        )
        self.engine.start()

    def _asked_to_stop(self) -> None:
        self.loop.call_soon(self.stop)

    def crash(self) -> None:
        """Pull the plug: what was not durable is lost, nothing is told to anybody."""
        engine, self.engine = self.running, None
        self.loop.cut()
        engine.crash()
        self._lose_memory()

    def stop(self) -> None:
        """Stop in good order: what was written is durable."""
        self.running.stop()
        self.engine = None
        self.store.close()
        self.loop.cut()
        self._lose_memory()

    def _lose_memory(self) -> None:
        self.signer.forget_added()
        self.store = self.store.crash()

    def restart(self, *, apps: Sequence[App] | None = None) -> None:
        """Crash if the node is up, then start it again, perhaps with other code."""
        if self.is_up:
            self.crash()
        if apps is not None:
            self._apps = list(apps)
        self.start()

    def add_apps(self, *apps: App) -> None:
        """Install more apps, now if the node is up, and at each start."""
        self._apps.extend(apps)
        if self.engine is not None:
            self.engine.host.register(*apps)

    def start_impostor(
        self, flow: Flow[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> FlowHandle[R]:
        """Start a flow that goes under the name of another, which the node has or has not.

        So a test plays a hostile peer: the other side believes that it speaks to the real flow.
        """
        flows = self.host.registry.flows
        honest = flows.get(flow.name)
        flows[flow.name] = flow
        try:
            return self.start_flow(flow, *args, **kwargs)
        finally:
            del flows[flow.name]
            if honest is not None:
                flows[flow.name] = honest

    def frame_arrives(self, sender: PeerName, envelopes: list[bytes]) -> None:
        """Take a frame at once, as if ``sender``, whom the link vouches for, had sent it.

        So a test plays a hostile peer, which sends what no engine would, or a link that repeats.
        """
        self.running.frame_arrived(sender, envelopes)

    def move_clock(self, ahead_ms: int) -> None:
        """Make the node's clock jump, or be ahead of the others from the start."""
        self.clock.ahead_ms += ahead_ms
        self.loop.clock_was_set()


class SimulatedNetwork:
    """See the module."""

    def __init__(
        self,
        seed: int = 0,
        *,
        policy: Policy = deliver_all,
        shuffle: bool = False,
        disk: Disk | None = None,
        is_replay_checked: bool = True,
        peer_limits: PeerLimits = DEFAULT_PEER_LIMITS,
    ) -> None:
        """Make an empty network.

        Args:
            seed: Decides about ids, keys, and the order of callbacks if that is shuffled.
            policy: Decides what arrives of each frame; see `runtime.testing.memory_transport`.
            shuffle: Whether callbacks that are ready together run in any order.
            disk: Decides when commits land; None: in the next turn.
            is_replay_checked: Whether each flow that has waited is rebuilt from its journal, as
                after a restart, so that code that is not deterministic is found at once.
            peer_limits: What each node keeps for its peers.
        """
        self.peer_limits = peer_limits
        self.is_replay_checked = is_replay_checked
        self.seed = seed
        self.disk = disk
        self.clock = SimulatedClock()
        self.loop = SimulatedLoop(self.clock, Random(self.seed) if shuffle else None)
        self.links = MemoryNetwork(self.loop, policy)
        self.authority = Authority(seed)
        self.directory = SimulatedDirectory(self.authority)
        self.nodes: dict[str, SimulatedNode] = {}

    def node(
        self,
        organisation: str,
        *,
        apps: Sequence[App] = (),
        install: Callable[[Host], None] | None = None,
        notary: str | None = None,
    ) -> SimulatedNode:
        """Add a node with a legal name made from ``organisation`` and start it.

        ``apps`` are registered and ``install`` is called anew at each start; whatever a layer
        keeps outside of the node's store is gone after a restart, so make it inside ``install``.
        """
        name = X500Name.parse(f"O={organisation},L=London,C=GB")
        signer = KeyRing(name, self.authority)
        party = Party(name=PeerName(str(name)), key=signer.identity)
        self.directory.add(party, is_notary=notary is not None)
        node = SimulatedNode(self, organisation, party, signer, apps, install, notary)
        self.nodes[organisation] = node
        return node

    def run(self) -> None:
        """Run until nothing is left to do."""
        self.loop.run_until_idle()

    def run_for(self, seconds: float) -> None:
        """Run for a span of simulated time."""
        self.loop.run_for(seconds)


class _Watch:
    """What the store of one node calls."""

    def __init__(self, node: SimulatedNode, disk: Disk) -> None:
        self._node = node
        self._disk = disk

    def submitted(self, batch: Batch) -> None:
        self._disk.submitted(self._node, batch)

    def landed(self, batch: Batch) -> None:
        self._disk.landed(self._node, batch)
