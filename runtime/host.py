"""`Host`: what a node, real or simulated, offers to the layers above the runtime."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, ParamSpec, Protocol, TypeVar

from cryptography import x509

from runtime.atomic import AtomicFunction, StoreTxn
from runtime.errors import ConfigurationError
from runtime.flow import Flow, FlowRegistry, Responder
from runtime.handle import FlowHandle
from runtime.ids import FlowId, PeerName
from runtime.keys import PrivateKey, PublicKey
from runtime.operations import OnRepeat
from runtime.party import AnonymousParty, Party
from runtime.ports import Clock, Loop, Space
from runtime.starting import FlowStarter, Starter, StartOptions

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

NODE_USER: Final = "node"
"""Who starts the flows that the node's own services start."""


class Directory(Protocol):
    """Who is in the network."""

    def party(self, name: PeerName) -> Party | None:
        """Return the party of this name, if the network has it."""

    def parties(self) -> list[Party]:
        """Return all parties."""

    def notaries(self) -> list[Party]:
        """Return the parties that the network's parameters name as notaries."""

    @property
    def root(self) -> x509.Certificate:
        """The certificate that all identities of the network descend from."""


class Signer(Protocol):
    """Private keys that stay where they are: the identity's, and one-time keys that were added."""

    def sign(self, key: PublicKey, content: bytes) -> bytes:
        """Return the signature of ``content`` by the private key of ``key``."""

    def add(self, key: PrivateKey) -> None:
        """Sign for ``key`` too, until the process ends."""

    def certify(self, key: PublicKey) -> tuple[bytes, ...]:
        """Return the chain (DER, leaf first) that proves that a one-time key is ours."""

    def seal(self, content: bytes, context: bytes = b"") -> bytes:
        """Encrypt ``content`` so that only this node, given the same context, opens it."""

    def unseal(self, sealed: bytes, context: bytes = b"") -> bytes:
        """Return what was sealed."""


class Runner(Starter, Protocol):
    """The part of the engine that a host needs."""

    def get(self, space: Space, key: bytes) -> bytes | None:
        """Return a value as of everything written so far, durable or not."""

    def scan(self, space: Space, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs as of everything written so far, durable or not."""

    def run_atomic(
        self, atomic: AtomicFunction[..., object], arguments: tuple[object, ...]
    ) -> object:
        """Run ``atomic`` for a caller that is no flow; waits until it is durable."""


class Host:
    """The services of one node, by type, and the hooks that layers hang themselves on."""

    def __init__(
        self,
        *,
        me: Party,
        clock: Clock,
        loop: Loop,
        directory: Directory,
        signer: Signer,
        data_directory: Path | None = None,
        notary_role: str | None = None,
    ) -> None:
        """Gather the services.

        Args:
            me: The node's legal identity.
            clock: Wall time.
            loop: What the node runs on.
            directory: The network.
            signer: The node's private keys.
            data_directory: Where layers may keep files that can be rebuilt; None: nowhere.
            notary_role: ``validating``, ``non-validating``, or None for a node that is no notary.
        """
        self.me = me
        self.clock = clock
        self.loop = loop
        self.directory = directory
        self.signer = signer
        self.registry = FlowRegistry()
        self.resolvers: list[Callable[[AnonymousParty], Party | None]] = []
        self.end_callbacks: list[Callable[[StoreTxn, FlowId], None]] = []
        self.start_callbacks: list[Callable[[], None]] = []
        self.stop_callbacks: list[Callable[[], None]] = []
        self.data_directory = data_directory
        self.notary_role = notary_role
        self.app_versions: dict[str, str] = {}
        self.runner: Runner | None = None
        self._services: dict[type, object] = {}

    def register(self, *sources: "ModuleType | Flow[..., object] | Responder") -> None:
        """Install flows and responders, or all that a module has."""
        self.registry.register(*sources)

    def provide(self, kind: type[T], instance: T) -> None:
        """Offer ``instance`` to flows as ``service(kind)``."""
        self._services[kind] = instance

    def service(self, kind: type[T]) -> T:
        """Return what was provided for ``kind``."""
        found = self._services.get(kind)
        if found is None:
            raise ConfigurationError(
                kind.__name__,
                "this node offers no such service",
                "Install the app that provides it, e.g. ledger.install(host)",
            )
        return found  # type: ignore[return-value]

    def on_flow_end(self, callback: Callable[[StoreTxn, FlowId], None]) -> None:
        """Call ``callback`` in the commit in which any flow ends; it may write, never block."""
        self.end_callbacks.append(callback)

    def on_start(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the store is open and recovered, before any flow runs."""
        self.start_callbacks.append(callback)

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the node stops, before its store is closed."""
        self.stop_callbacks.append(callback)

    def resolve(self, party: Party | AnonymousParty) -> Party | None:
        """Return the well-known party behind ``party``, if it is known here."""
        if isinstance(party, Party):
            known = self.directory.party(party.name)
            return known if known == party else None
        for resolver in self.resolvers:
            found = resolver(party)
            if found is not None:
                return found
        return None

    def get(self, space: Space, key: bytes) -> bytes | None:
        """Return a value of the node's store, as of everything written so far."""
        return self._running().get(space, key)

    def scan(self, space: Space, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs of the node's store, as of everything written so far."""
        return self._running().scan(space, start, end)

    def run_atomic(self, function: AtomicFunction[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run an atomic function outside of a flow; waits until it is durable."""
        bound = function.arguments.bind(args, kwargs)
        return self._running().run_atomic(function, bound)  # type: ignore[return-value]

    def start_flow(self, flow: Flow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> FlowHandle[R]:
        """Start a flow as the node itself; see `runtime.starting.FlowStarter.start_flow`."""
        return self.options().start_flow(flow, *args, **kwargs)

    def options(
        self,
        *,
        client_id: str | None = None,
        user: str = NODE_USER,
        on_repeat: OnRepeat = "attach_if_same",
    ) -> FlowStarter:
        """Return what starts flows so; see `runtime.starting`."""
        options = StartOptions(user=user, client_id=client_id, on_repeat=on_repeat)
        return FlowStarter(self._running, options)

    def _running(self) -> Runner:
        if self.runner is None:
            raise ConfigurationError("host", "the node is not started", "Start it first")
        return self.runner
