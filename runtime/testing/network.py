"""`SimulatedNetwork`: whole nodes in one thread, on fake ports, for tests of your own flows.

    network = SimulatedNetwork()
    alice, bob = network.node("Alice", apps=[my_flows]), network.node("Bob", apps=[my_flows])
    handle = alice.start_flow(sell, bob.party, "bond", 95)
    assert handle.result() == "bought bond"      # runs the simulation as far as it takes

Nodes can be crashed and restarted; what was not durable is gone then. Time is virtual.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from types import ModuleType
from typing import ParamSpec, TypeVar

from cryptography import x509

from runtime.certificates import (
    Validity,
    issue_confidential,
    issue_identity,
    issue_node_ca,
    issue_root,
    read_root,
    to_pem,
)
from runtime.engine.engine import Engine
from runtime.errors import MisuseError, StoreUnusable
from runtime.flow import Flow, Responder
from runtime.handle import FlowHandle
from runtime.host import Host
from runtime.ids import FlowId, PeerName
from runtime.keys import PrivateKey, PublicKey
from runtime.names import X500Name
from runtime.party import Party
from runtime.testing.memory_store import MemoryStore
from runtime.testing.memory_transport import MemoryNetwork, Policy, deliver_all
from runtime.testing.simulated_loop import EPOCH_MS, SeededEntropy, SimulatedClock, SimulatedLoop

P = ParamSpec("P")
R = TypeVar("R")

App = ModuleType | Flow[..., object] | Responder


class Authority:
    """Root of a simulated network; issues the certificates of its nodes."""

    def __init__(self) -> None:
        self._key = PrivateKey.generate()
        start = datetime.fromtimestamp(EPOCH_MS / 1000, UTC) - timedelta(days=1)
        self._validity = Validity(start=start, end=start + timedelta(days=36_500))
        self._root = issue_root(self._key, "simulation", self._validity)
        self.root = read_root(to_pem([self._root]))

    def certify(self, name: X500Name, identity: PublicKey) -> list[bytes]:
        """Return the chain of a node's identity, leaf first."""
        node_ca_key = PrivateKey.generate()
        node_ca = issue_node_ca(
            self._key, self._root, name=name, key=node_ca_key.public, validity=self._validity
        )
        return [
            issue_identity(node_ca_key, node_ca, key=identity, validity=self._validity),
            node_ca,
        ]


class KeyRing:
    """A `runtime.host.Signer` with keys in memory. Sealed bytes are not encrypted, only checked."""

    def __init__(self, name: X500Name, authority: Authority) -> None:
        self._keys: dict[PublicKey, PrivateKey] = {}
        self._identity = PrivateKey.generate()
        self.add(self._identity)
        self._chain = authority.certify(name, self._identity.public)

    @property
    def identity(self) -> PublicKey:
        """The key that stands for the node's legal identity."""
        return self._identity.public

    def forget_added(self) -> None:
        """Lose the keys that were added, as a crash does."""
        self._keys = {self._identity.public: self._identity}

    def add(self, key: PrivateKey) -> None:
        """See `runtime.host.Signer`."""
        self._keys[key.public] = key

    def certify(self, key: PublicKey) -> tuple[bytes, ...]:
        """See `runtime.host.Signer`."""
        return (issue_confidential(self._identity, self._chain[0], key), *self._chain)

    def seal(self, content: bytes, context: bytes = b"") -> bytes:
        """See `runtime.host.Signer`."""
        return self._mark(context) + content

    def unseal(self, sealed: bytes, context: bytes = b"") -> bytes:
        """See `runtime.host.Signer`."""
        mark = self._mark(context)
        if not sealed.startswith(mark):
            raise StoreUnusable("sealed bytes are of another node or context")
        return sealed[len(mark) :]

    def _mark(self, context: bytes) -> bytes:
        return self._identity.public.data + len(context).to_bytes(4, "big") + context

    def sign(self, key: PublicKey, content: bytes) -> bytes:
        """See `runtime.host.Signer`."""
        found = self._keys.get(key)
        if found is None:
            raise MisuseError(f"this node does not have the private key of {key.fingerprint()}")
        return found.sign(content)


class SimulatedDirectory:
    """A `runtime.host.Directory` that the network fills."""

    def __init__(self, root: x509.Certificate) -> None:
        self.root = root
        self._parties: dict[PeerName, Party] = {}
        self._notaries: list[Party] = []

    def add(self, party: Party, *, is_notary: bool) -> None:
        """List a party."""
        self._parties[party.name] = party
        if is_notary:
            self._notaries.append(party)

    def party(self, name: PeerName) -> Party | None:
        """See `runtime.host.Directory`."""
        return self._parties.get(name)

    def parties(self) -> list[Party]:
        """See `runtime.host.Directory`."""
        return list(self._parties.values())

    def notaries(self) -> list[Party]:
        """See `runtime.host.Directory`."""
        return list(self._notaries)


class SimulatedNode:
    """One node of a simulated network."""

    def __init__(
        self,
        network: "SimulatedNetwork",
        party: Party,
        signer: KeyRing,
        apps: Sequence[App],
        install: Callable[[Host], None] | None,
        notary_role: str | None,
    ) -> None:
        self._network = network
        self.party = party
        self.signer = signer
        self._apps = list(apps)
        self._install = install
        self._notary_role = notary_role
        self._lives = 0
        self.store = MemoryStore(network.loop)
        self.engine: Engine | None = None
        self.start()

    @property
    def is_up(self) -> bool:
        """Tell whether the node runs."""
        return self.engine is not None

    @property
    def running(self) -> Engine:
        """The engine; raises if the node is down."""
        if self.engine is None:
            raise MisuseError(f"{self.party.name} is down; restart() it first")
        return self.engine

    @property
    def host(self) -> Host:
        """What apps are installed on."""
        return self.running.host

    def start(self) -> None:
        """Start, or start again from what is durable."""
        network = self._network
        self._lives += 1
        host = Host(
            me=self.party,
            clock=network.clock,
            loop=network.loop,
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
            loop=network.loop,
            clock=network.clock,
            entropy=SeededEntropy(f"{network.seed}/{self.party.name}/{self._lives}"),
        )
        self.engine.start()

    def crash(self) -> None:
        """Pull the plug: what was not durable is lost, nothing is told to anybody."""
        engine, self.engine = self.running, None
        engine.crash()
        self.signer.forget_added()
        self.store = self.store.crash()

    def stop(self) -> None:
        """Stop in good order."""
        engine, self.engine = self.running, None
        engine.stop()

    def restart(self) -> None:
        """Crash if the node is up, then start it again."""
        if self.is_up:
            self.crash()
        self.start()

    def start_flow(self, flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> FlowHandle[R]:
        """Start a flow; runs the simulation until its start is durable."""
        return self.host.start_flow(flow, *args, **kwargs)

    def begin_flow(
        self, flow: Flow[..., object], *args: object, client_id: str | None = None
    ) -> FlowHandle[object]:
        """Start a flow without running the simulation; a crash may still undo it."""
        bound = flow.arguments.bind(args, {})
        return self.running.start_flow(
            flow, bound, client_id=client_id, user="test", is_awaited=False
        )

    def handle(self, flow_id: FlowId) -> FlowHandle[object]:
        """Return a handle on a flow of this node."""
        return self.running.manager.handle(flow_id)


class SimulatedNetwork:
    """See the module."""

    def __init__(
        self, seed: int | None = None, *, policy: Policy = deliver_all, shuffle: bool = False
    ) -> None:
        self.seed = 0 if seed is None else seed
        self.clock = SimulatedClock()
        self.loop = SimulatedLoop(self.clock, Random(self.seed) if shuffle else None)
        self.links = MemoryNetwork(self.loop, policy)
        self.authority = Authority()
        self.directory = SimulatedDirectory(self.authority.root)
        self.nodes: dict[str, SimulatedNode] = {}

    def node(
        self,
        organisation: str,
        *,
        apps: Sequence[App] = (),
        install: Callable[[Host], None] | None = None,
        notary: str | None = None,
    ) -> SimulatedNode:
        """Add a node with a legal name made from ``organisation`` and start it."""
        name = X500Name.parse(f"O={organisation},L=London,C=GB")
        signer = KeyRing(name, self.authority)
        party = Party(name=PeerName(str(name)), key=signer.identity)
        self.directory.add(party, is_notary=notary is not None)
        node = SimulatedNode(self, party, signer, apps, install, notary)
        self.nodes[organisation] = node
        return node

    def run(self) -> None:
        """Run until nothing is left to do."""
        self.loop.run_until_idle()

    def run_for(self, seconds: float) -> None:
        """Run for a span of simulated time."""
        self.loop.run_for(seconds)
