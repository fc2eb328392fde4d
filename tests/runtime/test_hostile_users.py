"""Users of the RPC who mean harm, against a real node: whatever they ask, it serves the others."""

import random
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import gevent
import msgspec
import pytest
import zmq
import zmq.green

from runtime import FlowFailed, flow, sleep
from runtime.client_config import ClientConfig, UserKey
from runtime.codec import decode
from runtime.config import NodeConfig
from runtime.edge.rpc_client import RpcAddress, RpcClient
from runtime.errors import ConfigurationError
from runtime.network_bootstrap import CreatedNetwork, create_network
from runtime.node import Node
from runtime.operations import NodeInfo
from runtime.rpc_messages import (
    VERSION,
    Answer,
    BadRequest,
    Failure,
    NodeBusy,
    Request,
    StopWatching,
)
from tests.e2e.networks import EMBEDDED

SECONDS: Final = 20.0
WAITS: Final = 1_100
SEEDS: Final = range(4)

USERS: Final = """
[[user]]
name = "admin"
permissions = ["ALL"]

[[user]]
name = "mallory"
permissions = ["StartFlow.hostile.*"]
"""

WRONG: Final[list[object]] = [
    None,
    -1,
    0,
    1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    -(2**63),
    1.5,
    float("nan"),
    True,
    b"\x00",
    "",
    "x" * 10_000,
    "01890a5d-ac96-774b-bcce-b302099a8057",
    "*" * 500,
    "hostile.wait",
    [],
    [[]] * 10_000,
    {},
    {"$": "rpc.GetInfo"},
    {"$": "node.FlowFilter", "limit": -1},
    {"$": "node.FlowFilter", "limit": 2**40, "before": "x", "since_ms": 2**63 - 1},
    {"$": "node.FlowFilter", "statuses": ["x"] * 10_000},
    {"$": "node.Arguments", "positional": ["1"] * 10_000},
    {"$": "node.Arguments", "positional": [["list", b"\x91" * 5_000 + b"\xc0"]]},
    {"$": "node.Arguments", "named": {"one": ["int", b"\xc1"], "\x00": "y"}},
    msgspec.Raw(b"\x91" * 5_000 + b"\xc0"),
    msgspec.Raw(b"\xdd\xff\xff\xff\xff"),
    msgspec.Raw(b"\xa2\xff\xff"),
]

KINDS: Final[tuple[type[msgspec.Struct], ...]] = typing.get_args(Request)


@flow(name="hostile.wait")
def wait() -> None:
    sleep(1e6)


@flow(name="hostile.leave")
def leave() -> None:
    raise SystemExit(3)


APPS: Final = (wait, leave)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> CreatedNetwork:
    path = tmp_path_factory.mktemp("hostile") / "network.toml"
    path.write_text(EMBEDDED + USERS)
    return create_network(path)


@pytest.fixture(scope="module")
def node(network: CreatedNetwork) -> Iterator[Node]:
    with Node(network.nodes[0].directory, apps=APPS, sync=False) as node:
        yield node


def address(network: CreatedNetwork, node: Node, user: str) -> RpcAddress:
    users = network.client_file.parent
    entry = ClientConfig.load(network.client_file).nodes[0]
    return RpcAddress(
        endpoint=node.rpc_address,
        server_key=entry.curve_key,
        user_keys=UserKey.load(users / f"{user}.key").curve,
    )


@contextmanager
def client(network: CreatedNetwork, node: Node, user: str) -> Iterator[RpcClient]:
    with RpcClient(address(network, node, user), connect_seconds=SECONDS) as opened:
        yield opened


class Mallory:
    """Sends what no client of ours sends."""

    def __init__(self, where: RpcAddress) -> None:
        self.context: Any = zmq.green.Context()
        self.socket: Any = self.context.socket(zmq.DEALER)
        self.socket.sndhwm = self.socket.rcvhwm = 0
        self.socket.linger = 0
        self.socket.curve_publickey = where.user_keys.public_key
        self.socket.curve_secretkey = where.user_keys.secret_key
        self.socket.curve_serverkey = where.server_key
        self.socket.connect(where.endpoint)
        self.number = 0

    def send(self, body: bytes) -> None:
        self.number += 1
        self.socket.send_multipart([VERSION, self.number.to_bytes(8, "big"), body])

    def answer(self) -> Answer:
        with gevent.Timeout(SECONDS):
            answer: Answer = decode(self.socket.recv_multipart()[-1], Answer)
        return answer

    def close(self) -> None:
        self.socket.close()
        self.context.term()


@pytest.fixture
def mallory(network: CreatedNetwork, node: Node) -> Iterator[Mallory]:
    opened = Mallory(address(network, node, "mallory"))
    yield opened
    opened.close()


def odd_requests(seed: int) -> list[bytes]:
    """Return requests of every kind with wrong fields, in any order."""
    chance = random.Random(seed)
    bodies: list[bytes] = []
    for kind in KINDS:
        names = kind.__struct_encode_fields__
        for name in names or ("surplus",):
            for wrong in WRONG:
                fields: dict[str, object] = {each: chance.choice(WRONG) for each in names}
                tag = {"$": kind.__struct_config__.tag}
                bodies.append(msgspec.msgpack.encode(tag | fields | {name: wrong}))
    bodies += [chance.randbytes(chance.randrange(200)) for _ in range(100)]
    chance.shuffle(bodies)
    return bodies


@pytest.mark.parametrize("seed", SEEDS)
def test_no_request_of_any_form_ends_the_service_of_others(
    network: CreatedNetwork, node: Node, mallory: Mallory, seed: int
) -> None:
    for body in odd_requests(seed):
        mallory.send(body)

    with client(network, node, "admin") as admin:
        assert isinstance(admin.info(), NodeInfo)
        admin.flows()
        admin.kill(admin.start_flow(wait.name).id)
    for row in node.flows():
        if not row.is_ended:
            node.kill(row.id)


@pytest.mark.parametrize("number", [-1, 2**63])
def test_an_integer_out_of_its_range_is_refused(mallory: Mallory, number: int) -> None:
    tag = StopWatching.__struct_config__.tag  # type: ignore[attr-defined]
    mallory.send(msgspec.msgpack.encode({"$": tag, "number": number}))

    answer = mallory.answer()

    assert isinstance(answer, Failure)
    assert answer.error_class == BadRequest.__name__


def test_a_request_of_many_parts_is_refused(mallory: Mallory) -> None:
    mallory.socket.send_multipart([VERSION, bytes(8), b"\x80", *[b"part"] * 5_000])

    answer = mallory.answer()

    assert isinstance(answer, Failure)
    assert answer.error_class == BadRequest.__name__


def test_who_waits_for_very_much_leaves_room_for_others_and_for_operators(
    network: CreatedNetwork, node: Node, mallory: Mallory
) -> None:
    handle = node.options(user="mallory").start_flow(wait)
    body = msgspec.msgpack.encode({"$": "rpc.GetResult", "flow_id": handle.id, "wait_ms": 30_000})
    for _ in range(WAITS):
        mallory.send(body)
    refused = [mallory.answer() for _ in range(WAITS - 250)]

    with client(network, node, "admin") as admin:
        in_use = {row.name: row.in_use for row in admin.info().limits}
        other = admin.start_flow(wait.name)
        assert admin.kill(other.id)
        assert admin.kill(handle.id)
    rest = [mallory.answer() for _ in range(250)]

    assert in_use["rpc_requests_per_user_max"] == 250
    classes = {answer.error_class for answer in refused if isinstance(answer, Failure)}
    assert classes == {NodeBusy.__name__}
    assert {getattr(answer, "error_class", "") for answer in rest} == {"FlowKilled"}


def test_who_never_reads_answers_holds_up_nobody(
    network: CreatedNetwork, node: Node, mallory: Mallory
) -> None:
    body = msgspec.msgpack.encode({"$": "rpc.GetInfo"})
    for _ in range(5_000):
        mallory.send(body)

    with client(network, node, "admin") as admin:
        for _ in range(10):
            admin.info()


def test_the_result_of_a_flow_that_wanted_to_end_the_process_is_a_failure(
    network: CreatedNetwork, node: Node
) -> None:
    with client(network, node, "admin") as admin:
        left = admin.start_flow(leave.name)

        with pytest.raises(FlowFailed) as failed:
            admin.result(left.id, SECONDS)

        assert failed.value.original_class.endswith("SystemExit")
        admin.info()


def test_the_limits_of_users_stand_in_the_configuration(network: CreatedNetwork) -> None:
    directory = network.nodes[1].directory
    file = directory / "node.toml"
    before = file.read_text()

    file.write_text(f"{before}\n[limits]\nrpc_requests_max = 7\n")
    changed = NodeConfig.load(directory).rpc_limits.rpc_requests_max
    file.write_text(f"{before}\n[limits]\nrpc_requests_max = 0\n")
    with pytest.raises(ConfigurationError, match="rpc_requests_max is less than 1"):
        NodeConfig.load(directory)

    assert changed == 7
