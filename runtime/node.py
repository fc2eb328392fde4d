"""`Node`: one process's part in a network. Puts engine, store, transport, keys and RPC together.

    with Node("nodes/bank-a") as node:
        handle = node.options(client_id="order-17").start_flow(sell, buyer, "bond", 95)
        print(handle.result())

A node lives on the gevent hub of the thread that starts it, beside whatever else runs there, with
or without monkey patching. Its threads are the store's writer, those of steps, gevent's
pool, and the one that watches the loop.
"""

import gc
import importlib
import logging
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Final, Self

from gevent.lock import RLock

from runtime.client_config import load_users
from runtime.config import NodeConfig
from runtime.driver import driver_or_none
from runtime.edge.directory import NetworkDirectory
from runtime.edge.gevent_loop import GeventLoop
from runtime.edge.key_password import PasswordReader
from runtime.edge.keystore import KeyStore
from runtime.edge.last_run import LastRun
from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.lmdb_writer import crash_point_from_environment
from runtime.edge.node_identity import NodeIdentity
from runtime.edge.rpc_server import RpcServer
from runtime.edge.system_clock import SystemClock, SystemEntropy
from runtime.edge.watchdog import Watchdog
from runtime.edge.zmq_transport import ZmqTransport
from runtime.engine.engine import Engine
from runtime.engine.flow_ids import key_of
from runtime.engine.holding import HoldAtStart, NoNote
from runtime.engine.running import look_at
from runtime.errors import ConfigurationError, InFlow, NodeStopped
from runtime.flow import Flow, Responder
from runtime.host import Host
from runtime.ids import FlowId, PeerName
from runtime.node_operations import EngineOperations
from runtime.node_verbs import NodeVerbs
from runtime.party import Party
from runtime.ports import RunNote, Signal

log = logging.getLogger("sennit.node")

_passwords: Final = PasswordReader(os.environ)

GC_THRESHOLDS: Final = (50_000, 10, 20)
SWITCH_SECONDS: Final = 0.0003


class Node(NodeVerbs):
    """A node, made from its directory or its configuration; see the module."""

    def __init__(
        self,
        config: NodeConfig | Path | str,
        *,
        apps: "tuple[ModuleType | Flow[..., object] | Responder, ...]" = (),
        sync: bool = True,
        hold: Sequence[str] = (),
        hold_all: bool = False,
    ) -> None:
        """Prepare a node; nothing is opened before `start`.

        Args:
            config: Its configuration, or the directory that holds ``node.toml``.
            apps: Modules, flows and responders on top of the configured apps.
            sync: False makes commits without fsync: a power cut loses what was reported durable.
            hold: Flows that are held, not run, when the node starts: by id, beginning or end of it,
                or client id. One that is not there, or is not the only one, fails the start.
            hold_all: Hold all flows that live, as ``hold``.
        """
        if not __debug__:
            raise ConfigurationError(
                "python -O", "asserts are off, and they guard the journal", "Run without -O"
            )
        self.config = config if isinstance(config, NodeConfig) else NodeConfig.load(config)
        self._apps = apps
        self._sync = sync
        self._hold = HoldAtStart(
            flows=tuple(hold), is_all=hold_all, after_crashes=self.config.hold_after_crashes
        )
        self._engine: Engine | None = None
        self._loop: GeventLoop | None = None
        self._watchdog: Watchdog | None = None
        self._store: LmdbStore | None = None
        self._run_note: RunNote | None = None
        self._rpc: RpcServer | None = None
        self._transport: ZmqTransport | None = None
        self._operations: EngineOperations | None = None
        self._stop_asked: Signal | None = None
        self._is_stopping = RLock()
        self.rpc_address = ""

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Open everything, recover the flows, listen. Raises `ConfigurationError`, `StoreError`."""
        if self._engine is not None:
            raise NodeStopped(f"{self.config.name} is running already")
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        config = self.config
        clock = SystemClock()
        loop = self._loop = GeventLoop(clock, step_threads=config.step_threads)
        self._stop_asked = loop.signal()
        keystore = KeyStore.open(config.keys_directory, _passwords.read(config.key_password))
        directory = NetworkDirectory(config.network_directory, clock)
        identity = NodeIdentity.load(
            config.certificates_directory,
            keystore,
            name=config.name,
            root=directory.root,
            at=datetime.now(UTC),
        )
        users = load_users(config.users_file)
        host = Host(
            me=identity.party,
            clock=clock,
            loop=loop,
            directory=directory,
            signer=identity,
            data_directory=config.directory,
            notary_role=config.notary,
        )
        self._install(host)
        self._store = LmdbStore(
            config.store_directory,
            owner=config.name,
            sync=self._sync,
            crash_point=crash_point_from_environment(),
        )
        self._transport = ZmqTransport(
            me=PeerName(config.name),
            bind=config.p2p_address,
            public_key=keystore.curve.public_key,
            secret_key=keystore.curve.secret_key,
            peers=directory,
            limits=config.peer_limits,
        )
        transport = self._transport
        directory.when_changed(lambda: loop.call_soon(transport.peers_changed))
        self._run_note = run_note = _open_note(config.store_directory)
        self._engine = Engine(
            host=host,
            store=self._store,
            transport=self._transport,
            loop=loop,
            clock=clock,
            entropy=SystemEntropy(),
            hold_unexpected=config.hold_unexpected,
            journal_events_max=config.journal_events_max,
            run_note=run_note,
            hold=self._hold,
            peer_limits=config.peer_limits,
        )
        self._operations = EngineOperations(
            self._engine, addresses=[config.p2p_address], ask_to_stop=self._ask_to_stop
        )
        self._operations.usages.append(self._transport.usage)
        recovered = self._engine.start()
        self._watchdog = Watchdog(loop.hub, look_at, noted=partial(_note, run_note))
        self._watchdog.start()
        self._operations.watchdog = self._watchdog
        self._rpc = RpcServer(
            self._operations,
            address=config.rpc_address,
            keys=keystore.curve,
            users=users,
            limits=config.rpc_limits,
        )
        self._operations.usages.append(self._rpc.usage)
        self.rpc_address = self._rpc.start()
        self._operations.rpc_address = self.rpc_address
        log.info("node started", extra={"node": config.name, "flows_recovered": recovered})

    def _install(self, host: Host) -> None:
        for name in self.config.apps:
            module = _imported(name, self.config)
            host.register(module)
            host.app_versions[name.partition(".")[0]] = _version_of(name)
            install = getattr(module, "install", None)
            if callable(install):
                install(host)
        host.register(*self._apps)
        for app in self._apps:
            install = getattr(app, "install", None) if isinstance(app, ModuleType) else None
            if callable(install):
                install(host)

    def stop(self) -> None:
        """Stop in good order; flows go on at the next start. Idempotent; waits for the disk.

        A flow can't wait for its own end: there, and in a signal handler, use `ask_to_stop`.
        """
        if driver_or_none() is not None:
            raise InFlow("stop() would wait for this very flow to be taken down; use ask_to_stop()")
        self._ask_to_stop()
        # Whoever comes second returns when it is done, too.
        with self._is_stopping, ExitStack() as closing:
            closing.callback(self._forget_parts)
            if self._loop is not None:
                closing.callback(self._loop.close)
            if self._store is not None:
                closing.callback(self._store.close)
            if self._run_note is not None:
                closing.callback(self._run_note.close)
            if self._watchdog is not None:
                closing.callback(self._watchdog.stop)
            if self._engine is not None:
                closing.callback(self._engine.stop)
            elif self._transport is not None:
                closing.callback(self._transport.close)
            if self._rpc is not None:
                closing.callback(self._rpc.close)

    def _forget_parts(self) -> None:
        if self._loop is not None:
            self._loop.refuse_threads(
                NodeStopped(f"{self.config.name} stopped before it could answer another thread")
            )
        self._rpc = self._engine = self._store = self._transport = self._operations = None
        self._loop = self._watchdog = self._run_note = None

    def wait_until_asked_to_stop(self) -> None:
        """Block the calling greenlet until somebody asks, over RPC or by `ask_to_stop`."""
        if self._stop_asked is not None:
            self._stop_asked.wait()

    def ask_to_stop(self) -> None:
        """Let `wait_until_asked_to_stop` return; safe from a signal handler of gevent."""
        self._ask_to_stop()

    def _ask_to_stop(self) -> None:
        if self._stop_asked is not None:
            self._stop_asked.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # --- use ----------------------------------------------------------------------------------

    @property
    def operations(self) -> EngineOperations:
        """What operators can ask of the node."""
        self._live()
        assert self._operations is not None
        return self._operations

    def party(self, name: str) -> Party:
        """Return a party of the network by its legal name, or by its organisation if unique."""
        return self._in_loop(lambda: self.operations.party(name))

    def _live(self) -> Engine:
        if self._engine is None:
            raise NodeStopped(f"{self.config.name} is not running; use `with Node(...)` or start()")
        return self._engine


def _open_note(directory: Path) -> RunNote:
    """Open the note of which flow runs; without it (a full disk) the node runs all the same."""
    try:
        return LastRun(directory)
    except OSError as error:
        log.warning(
            "can't note which flow is running, so a flow that ends the node again and again will "
            "not be held: %s",
            error,
        )
        return NoNote()


def _note(run_note: RunNote, flow_id: FlowId | None) -> None:
    """Note which flow has stopped the loop; called by the watchdog, from its thread."""
    if flow_id is None:
        run_note.leave()
    else:
        run_note.enter(key_of(flow_id))


def tune_process() -> None:
    """Set garbage collector, thread switching and open files of this process for many flows.

    ``sennit node run`` calls it when everything is imported. A program that embeds a node may do
    the same if nothing else in it minds: a flow is a few dozen small objects, and Python's default
    looks through all of them again and again (a third of a step at 10,000 flows). The switch
    interval bounds how long the store's thread waits for a busy hub. And each link to a peer takes
    descriptors, so the process may have as many as the system allows.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_SECONDS)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A system whose real limit is another, less than it says, leaves things as they are.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _imported(name: str, config: NodeConfig) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # an app may fail in any way, and its operator must hear how
        raise ConfigurationError(
            str(config.directory / "node.toml"),
            f"app {name!r} can't be imported: {type(error).__name__}: {error}",
            "Install it or mend it, or start the node from the directory that has it",
        ) from error


def _version_of(name: str) -> str:
    try:
        return version(name.partition(".")[0])
    except PackageNotFoundError:
        return ""
