"""`NetworkDriver`: a network of real node processes, for end-to-end tests of your own flows.

    with NetworkDriver.create(SPEC) as network:           # SPEC as for `sennit network create`
        network.start()
        seller = network.node("seller")
        handle = seller.rpc.start_flow("trade.sell", "Buyer", "bond", price=95)
        network.node("buyer").kill()                      # SIGKILL
        network.node("buyer").start()
        print(handle.result(timeout=30))

What always holds:

- Each node is the process of the command ``sennit node run``, with keys, sockets and a disk of its
  own. It finds the modules that the test finds.
- No process is left behind: the end of the ``with`` kills all, and a node dies with the thread that
  started it, whatever ends that.
- The ports of the network stay its own until the end, also while a node is down.
- What the nodes wrote to standard output and error stands in the notes of an error that leaves the
  ``with``.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

import gevent

from runtime.client_config import CLIENT_FILE, USER_KEY_SUFFIX, ClientConfig, ClientNode, UserKey
from runtime.config import NodeConfig
from runtime.edge.lmdb_store import LmdbStore
from runtime.edge.lmdb_writer import CRASH_VARIABLE
from runtime.edge.rpc_client import RpcAddress, RpcClient
from runtime.errors import ConfigurationError, SennitError
from runtime.network_bootstrap import DEFAULT_USER, create_network

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0

_LOG_CHARACTERS_SHOWN: Final = 6_000
_POLL_SECONDS: Final = 0.01
_CREATE_ATTEMPTS: Final = 5

# Ask the kernel to kill us when our parent dies, then become the node; both survive an exec.
_DIE_WITH_PARENT: Final = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); "
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)


def _process_class() -> type[subprocess.Popen[bytes]]:
    """Return the class that learns how its processes end.

    Once a program uses gevent's, gevent collects all children, and Python's would say 0 of each.
    """
    module = sys.modules.get("gevent.subprocess", subprocess)
    return cast(type[subprocess.Popen[bytes]], module.Popen)


class NodeProcessFailed(SennitError):
    """A node's process has not done what the test asked; the text has the end of its output."""

    def __init__(self, name: str, what: str, output: str) -> None:
        super().__init__(name, what, output)
        self.name = name
        self.what = what
        self.output = output

    def __str__(self) -> str:
        return f"node {self.name} {self.what}. It wrote:\n{self.output}"


class NodeProcess:
    """One node of a driven network; made by `NetworkDriver`. Down until it is started."""

    def __init__(self, entry: ClientNode, directory: Path, users: Path, log_file: Path) -> None:
        self.name = entry.name
        self.short_name = entry.short_name
        self.directory = directory
        self.log_file = log_file
        self._entry = entry
        self._users = users
        self._process: subprocess.Popen[bytes] | None = None
        self._rpc: RpcClient | None = None

    @property
    def config(self) -> NodeConfig:
        """What its ``node.toml`` says now."""
        return NodeConfig.load(self.directory)

    # Its process

    def start(self, *, crash_at: str | None = None, options: Sequence[str] = ()) -> None:
        """Start the process and wait until it answers; `NodeProcessFailed` if it ends instead."""
        self.launch(crash_at=crash_at, options=options)
        self.wait_until_up()

    def launch(
        self,
        *,
        crash_at: str | None = None,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """Start the process and return at once.

        Args:
            crash_at: ``before:3`` or ``after:3`` has it kill itself around its third commit.
            environment: Variables on top of the test's own.
            options: Options of ``sennit node run``.
        """
        assert not self.is_running, f"{self.short_name} runs already"
        self.disconnect()
        command = [sys.executable, "-m", "runtime.cli", "node", "run", str(self.directory)]
        command += options
        with self.log_file.open("ab") as log:
            log.write(f"--- started, crash at: {crash_at}\n".encode())
            log.flush()
            self._process = _process_class()(
                [sys.executable, "-SE", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command],
                env=_environment(crash_at, environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_up(self, timeout_seconds: float = START_SECONDS) -> None:
        """Wait until the node answers its users; returns at once if it has."""
        if self._rpc is not None:
            return
        ends_at = time.monotonic() + timeout_seconds
        while not _listens(self._entry.rpc_address):
            if not self.is_running:
                raise self._failed(f"has ended with {self.exit_code} before it was up")
            if time.monotonic() >= ends_at:
                raise self._failed(f"is not up after {timeout_seconds} s")
            gevent.sleep(_POLL_SECONDS)
        self._keep(self.connect())

    def _keep(self, client: RpcClient) -> None:
        if self._rpc is None:
            self._rpc = client
        else:
            client.close()  # Another greenlet has waited, too.

    @property
    def is_running(self) -> bool:
        """Whether there is a process; it need not be up yet."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process, also after its end."""
        assert self._process is not None, f"{self.short_name} was never started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the last process ended: 0 in good order, -9 by SIGKILL; None if it has not ended."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """End the process as a power cut would, by SIGKILL; no effect if it is down."""
        self.disconnect()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self, timeout_seconds: float = STOP_SECONDS) -> None:
        """End the process in good order, by SIGTERM; no effect if it is down.

        Raises `NodeProcessFailed` if it does not end, or not with 0.
        """
        if not self.is_running:
            return
        self.ask_to_stop()
        self.wait_until_stopped(timeout_seconds)

    def wait_until_stopped(self, timeout_seconds: float = STOP_SECONDS) -> None:
        """Wait until the process has ended in good order."""
        code = self.wait_for_exit(timeout_seconds)
        if code != 0:
            raise self._failed(f"has ended with {code} when it was asked to stop")

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once."""
        self.disconnect()
        if self._process is not None:
            self._process.terminate()

    def wait_for_exit(self, timeout_seconds: float) -> int:
        """Wait until the process ends by itself, and return its exit code."""
        self.wait_until(lambda: not self.is_running, "ended", timeout_seconds)
        assert self._process is not None
        return self._process.returncode

    def wait_until(
        self, condition: Callable[[], bool], meaning: str, timeout_seconds: float
    ) -> None:
        """Ask again and again; raise `NodeProcessFailed` if it does not come true in time."""
        ends_at = time.monotonic() + timeout_seconds
        while not condition():
            if time.monotonic() >= ends_at:
                raise self._failed(f"has not {meaning} within {timeout_seconds} s")
            gevent.sleep(_POLL_SECONDS)

    def output(self) -> str:
        """Return what all its processes so far have written."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    # What it can be asked

    @property
    def rpc(self) -> RpcClient:
        """The administrator's connection; a new one after each start."""
        if self._rpc is None:
            raise self._failed("is down; call start()")
        return self._rpc

    def connect(
        self, user: str = DEFAULT_USER, *, connect_seconds: float = START_SECONDS
    ) -> RpcClient:
        """Open one more connection; whoever asks closes it. It outlives restarts of the node."""
        key = UserKey.load(self._users / f"{user}{USER_KEY_SUFFIX}")
        address = RpcAddress(
            endpoint=self._entry.rpc_address,
            server_key=self._entry.curve_key,
            user_keys=key.curve,
            start_with=f"sennit node run {self.directory}",
        )
        return RpcClient(address, connect_seconds=connect_seconds)

    @contextmanager
    def store(self) -> Iterator[LmdbStore]:
        """Open the store of a node that is down, to look into it."""
        config = self.config
        with LmdbStore(config.store_directory, owner=config.name) as store:
            yield store

    def disconnect(self) -> None:
        """Close the administrator's connection; there is a new one after the next start."""
        if self._rpc is not None:
            self._rpc.close()
            self._rpc = None

    def _failed(self, what: str) -> NodeProcessFailed:
        return NodeProcessFailed(self.short_name, what, self.output()[-_LOG_CHARACTERS_SHOWN:])


class NetworkDriver:
    """A network on disk and the processes of its nodes; a context manager, see the module."""

    def __init__(self, directory: Path | str, *, is_temporary: bool = False) -> None:
        """Take over a network that ``sennit network create`` has made.

        Args:
            directory: Where it is.
            is_temporary: Remove the directory at the end.
        """
        self.directory = Path(directory).absolute()
        self._is_temporary = is_temporary
        self._ports = ExitStack()
        users = self.directory / "users"
        logs = self.directory / "logs"
        logs.mkdir(exist_ok=True)
        self.nodes: Final = tuple(
            NodeProcess(
                entry,
                self.directory / "nodes" / entry.short_name,
                users,
                logs / f"{entry.short_name}.log",
            )
            for entry in ClientConfig.load(users / CLIENT_FILE).nodes
        )
        try:
            self._hold_ports()
        except BaseException:
            self._ports.close()
            raise

    @classmethod
    def create(cls, spec: str, directory: Path | str | None = None) -> Self:
        """Make the network that ``spec`` describes.

        It is made in ``directory``, which must have none yet; else in a temporary one, which is
        removed at the end.
        """
        is_temporary = directory is None
        where = Path(tempfile.mkdtemp(prefix="sennit-") if directory is None else directory)
        try:
            return cls._create(spec, where, is_temporary=is_temporary)
        except BaseException:
            if is_temporary:
                shutil.rmtree(where, ignore_errors=True)
            raise

    @classmethod
    def _create(cls, spec: str, where: Path, *, is_temporary: bool) -> Self:
        where.mkdir(parents=True, exist_ok=True)
        (where / "network.toml").write_text(spec)
        for attempt in range(1, _CREATE_ATTEMPTS + 1):
            create_network(where / "network.toml", where, force=attempt > 1)
            try:
                return cls(where, is_temporary=is_temporary)
            except OSError:
                # Somebody took a port between its choice and now.
                if attempt == _CREATE_ATTEMPTS:
                    raise
        raise AssertionError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, NodeProcessFailed):
            self.explain(error)
        self.close()

    def close(self) -> None:
        """Kill what still runs, free the ports, remove a temporary directory. Idempotent."""
        self.kill()
        self._ports.close()
        if self._is_temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def node(self, name: str) -> NodeProcess:
        """Return a node by its short or its legal name."""
        for node in self.nodes:
            if name in (node.short_name, node.name):
                return node
        known = ", ".join(node.short_name for node in self.nodes)
        raise ConfigurationError(str(self.directory), f"has no node {name!r}", f"It has: {known}")

    def start(self, *names: str) -> None:
        """Start, of these nodes or of all, those that are down, and wait until they are up."""
        nodes = [node for node in self._chosen(names) if not node.is_running]
        for node in nodes:
            node.launch()
        for node in nodes:
            node.wait_until_up()

    def stop(self) -> None:
        """Stop all nodes that run, in good order, at the same time."""
        running = [node for node in self.nodes if node.is_running]
        for node in running:
            node.ask_to_stop()
        for node in running:
            node.wait_until_stopped()

    def kill(self) -> None:
        """Kill all nodes that run."""
        for node in self.nodes:
            node.kill()

    def explain(self, error: BaseException) -> None:
        """Add what the nodes wrote to the notes of an error that a test is about to raise."""
        for node in self.nodes:
            output = node.output()[-_LOG_CHARACTERS_SHOWN:]
            if output:
                error.add_note(f"--- node {node.short_name} has written:\n{output}")

    def save(self, where: Path) -> None:
        """Copy the data of all nodes, which must be down, to ``where``."""
        assert not any(node.is_running for node in self.nodes)
        shutil.copytree(self.directory / "nodes", where)

    def restore(self, where: Path) -> None:
        """Bring back the data that `save` has copied to ``where``; the nodes must be down."""
        assert not any(node.is_running for node in self.nodes)
        shutil.rmtree(self.directory / "nodes")
        shutil.copytree(where, self.directory / "nodes")
        for node in self.nodes:
            node.log_file.unlink(missing_ok=True)

    def _chosen(self, names: tuple[str, ...]) -> list[NodeProcess]:
        return [self.node(name) for name in names] if names else list(self.nodes)

    def _hold_ports(self) -> None:
        """Bind, but don't listen: nobody else gets the port, while the node may still take it."""
        for node in self.nodes:
            config = node.config
            for address in (config.p2p_address, config.rpc_address):
                holder = self._ports.enter_context(socket.socket())
                holder.bind(_host_and_port(address))
                # Only now: two that both reuse addresses could take the same port.
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _environment(crash_at: str | None, more: Mapping[str, str]) -> dict[str, str]:
    environment = {**os.environ, **more, "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    environment.pop(CRASH_VARIABLE, None)
    if crash_at is not None:
        environment[CRASH_VARIABLE] = crash_at
    return environment


def _listens(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(_host_and_port(address)) == 0


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return host, int(port)
