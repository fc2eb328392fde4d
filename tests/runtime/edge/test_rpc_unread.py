"""RPC: what clients do not read is bounded in bytes, for each user and for all."""

from collections.abc import Iterator
from contextlib import closing
from typing import Final

import gevent
import msgspec
import pytest
import zmq
import zmq.green

from runtime.codec import decode, encode
from runtime.edge import rpc_server
from runtime.edge.rpc_unread import OVERHEAD_BYTES, UnreadAnswers
from runtime.errors import PermissionDenied
from runtime.ids import UserName
from runtime.limits import ERROR_CHARACTERS_MAX, MIB, RpcLimits
from runtime.operations import Arguments, FlowDetail, FlowResult
from runtime.rpc_messages import (
    RECEIPT_EVERY_BYTES,
    STILL_THERE_SECONDS,
    VERSION,
    Answer,
    Failure,
    GetInfo,
    GetResult,
    NodeBusy,
    failure,
)
from tests.runtime.edge.rpc_network import SECONDS, Network

LIMITS: Final = RpcLimits(rpc_unread_bytes_per_user_max=4 * MIB)
RESULTS: Final = 60
# A result crosses as a value, and as a text for people.
RESULT_BYTES: Final = 2 * MIB
# Of which a client of ours does not say that it has read it.
LITTLE: Final = RECEIPT_EVERY_BYTES + 20 * OVERHEAD_BYTES


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    network.server.close()
    network.server = network.serve(LIMITS)
    with gevent.Timeout(SECONDS), closing(network):
        yield network


class Deaf:
    """A client of its own making, which asks and reads only when it is told to."""

    def __init__(self, network: Network, user: str = "ann") -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.green.Context()
        self.socket: zmq.Socket[bytes] = self.context.socket(zmq.DEALER)
        self.socket.sndhwm = self.socket.rcvhwm = 0
        self.socket.linger = 0
        self.socket.curve_publickey = network.keys[user].public_key
        self.socket.curve_secretkey = network.keys[user].secret_key
        self.socket.curve_serverkey = network.server_keys.public_key
        self.socket.connect(network.endpoint)

    def ask(self, body: bytes, number: bytes = bytes(8)) -> None:
        self.socket.send_multipart([VERSION, number, body])

    def read(self) -> Answer:
        *_, receipt, body = self.socket.recv_multipart()
        self.ask(b"", receipt)
        answer: Answer = decode(body, Answer)
        return answer

    def close(self) -> None:
        self.socket.close()
        self.context.term()


@pytest.fixture
def deaf(network: Network) -> Iterator[Deaf]:
    opened = Deaf(network)
    yield opened
    opened.close()


def ended_flow(network: Network, size: int = MIB) -> str:
    flow_id = network.client("ann").start_flow("trade.wait").id
    network.node.end(network.node.by_id[flow_id], result="x" * size)
    return flow_id


def in_use(network: Network) -> dict[str, int]:
    return {name: used for name, _, used in network.server.usage()}


def ask_for_too_much(network: Network, deaf: Deaf) -> None:
    """Ask for many results, and return when no more of them are sent."""
    body = encode(GetResult(ended_flow(network), 0))
    asked = network.node.results_asked + RESULTS
    for _ in range(RESULTS):
        deaf.ask(body)
    while (
        network.node.results_asked < asked
        or unread(network) <= LIMITS.rpc_unread_bytes_per_user_max
    ):
        gevent.sleep(0)


def unread(network: Network) -> int:
    return in_use(network)["rpc_unread_bytes_per_user_max"]


def test_results_that_nobody_reads_are_bounded_in_bytes_and_all_arrive_when_they_are_read(
    network: Network, deaf: Deaf
) -> None:
    ask_for_too_much(network, deaf)

    assert unread(network) <= LIMITS.rpc_unread_bytes_per_user_max + RESULT_BYTES
    assert network.client("sam").info().commits == 42
    answers = [deaf.read() for _ in range(RESULTS)]

    assert {type(answer) for answer in answers} == {FlowResult}
    while unread(network) > LITTLE:
        gevent.sleep(0)


def test_receipts_that_are_guessed_make_no_room(network: Network, deaf: Deaf) -> None:
    # Breaks when a client just says that it has read.
    ask_for_too_much(network, deaf)
    before = unread(network)

    for number in range(1_000):
        deaf.ask(b"", number.to_bytes(8, "big"))
    deaf.ask(encode(GetInfo()))
    while unread(network) == before:
        gevent.sleep(0)

    assert before < unread(network) < before + MIB


def test_who_has_much_to_read_is_refused_what_only_looks(network: Network, deaf: Deaf) -> None:
    ask_for_too_much(network, deaf)

    deaf.ask(encode(GetInfo()))
    answers = [deaf.read() for _ in range(RESULTS + 1)]

    refused = [answer for answer in answers if isinstance(answer, Failure)]
    assert [answer.error_class for answer in refused] == ["NodeBusy"]
    assert "have not been read" in refused[0].text


def test_a_result_waits_for_a_reader_for_a_while_only(
    network: Network, deaf: Deaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Breaks when a user keeps its requests under way for ever.
    monkeypatch.setattr(rpc_server, "UNREAD_SECONDS", 0.2)
    ask_for_too_much(network, deaf)

    while in_use(network)["rpc_requests_per_user_max"]:
        gevent.sleep(0.01)
    answers = [deaf.read() for _ in range(RESULTS)]

    refused = {answer.error_class for answer in answers if isinstance(answer, Failure)}
    assert refused == {"ResultNotReady"}


def test_a_client_of_ours_reads_more_than_the_bound_at_once(network: Network) -> None:
    flow_id = ended_flow(network)
    client = network.client("ann")

    asking = [gevent.spawn(client.handle(flow_id).result) for _ in range(RESULTS)]
    gevent.joinall(asking, raise_error=True)

    assert all(each.value == "x" * MIB for each in asking)
    while unread(network) > LITTLE:
        gevent.sleep(0)


def test_a_watch_goes_on_when_its_user_has_read(network: Network, deaf: Deaf) -> None:
    client = network.client("ann")
    flow_id = client.start_flow("trade.wait").id
    ask_for_too_much(network, deaf)

    watching = gevent.spawn(lambda: next(client.watch(flow_id)))
    for _ in range(5):
        network.client("sam").info()
    was_told = watching.ready()
    for _ in range(RESULTS):
        deaf.read()

    assert not was_told
    assert isinstance(watching.get(), FlowDetail)


def test_what_a_client_that_has_gone_did_not_read_counts_no_more(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_server, "STILL_THERE_SECONDS", 0.05)
    network.server.close()
    network.server = network.serve(LIMITS)
    deaf = Deaf(network)
    ask_for_too_much(network, deaf)

    deaf.close()

    while in_use(network)["rpc_unread_bytes_max"] > LITTLE:
        gevent.sleep(0.01)


def test_a_receipt_frees_the_answers_before_it_and_none_behind_it() -> None:
    unread = UnreadAnswers(RpcLimits(rpc_unread_bytes_per_user_max=10))
    ann = UserName("ann")
    for receipt in (b"1", b"2", b"3"):
        unread.sent(b"client", ann, receipt, 1_000)
    seen = [unread.has_room(ann)]

    unread.read(b"another", b"2")
    unread.read(b"client", b"2")
    used = unread.usage()[1][2]
    unread.read(b"client", b"2")
    unread.read(b"client", b"3")
    seen.append(unread.has_room(ann))

    assert used == 1_000 + OVERHEAD_BYTES
    assert seen == [False, True]
    assert unread.clients() == []


def test_requests_of_very_many_parts_are_refused_before_they_are_decoded(
    network: Network, deaf: Deaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []

    def note(body: bytes, expected: object) -> object:
        decoded.append(body)
        return decode(body, expected)

    monkeypatch.setattr(rpc_server, "decode", note)
    head = msgspec.msgpack.encode({"$": "rpc.StartFlow", "flow_name": "x"})
    lists = b"\xdd" + (5_000_000).to_bytes(4, "big") + b"\x90" * 5_000_000
    bodies = [
        b"\x83" + head[1:] + b"\xa9arguments" + lists,
        b"\x83" + head[1:] + b"\xa5other" + b"\xdc\x27\x11" + b"\x90" * 10_001,
    ]

    answers: list[Answer] = []
    for body in bodies:
        deaf.ask(body)
        answers.append(deaf.read())

    for answer in answers:
        assert isinstance(answer, Failure)
        assert answer.error_class == "BadRequest"
        assert "more than 10,000 parts" in answer.text
    assert not decoded


def test_who_asks_on_and_on_and_reads_nothing_is_hung_up_on_and_forgotten(
    network: Network, deaf: Deaf
) -> None:
    # Breaks when what is small is sent without end.
    network.server.close()
    network.endpoint = "tcp://127.0.0.1:*"
    network.server = network.serve(RpcLimits(rpc_unread_bytes_per_user_max=50_000))
    honest = network.client("ann")
    honest.info()
    lazy = Deaf(network)
    with closing(lazy):
        for _ in range(1_000):
            lazy.ask(encode(GetInfo()))
            gevent.sleep(0)
            assert unread(network) <= 2 * 50_000 + 10_000
        while not network.server.stats.connections_cut:
            gevent.sleep(0)

        assert network.client("sam").info().commits == 42
        while True:
            try:
                honest.info()
            except NodeBusy:
                gevent.sleep(0.01)
            else:
                break


def test_what_waits_for_a_client_is_forgotten_when_its_connection_ends(network: Network) -> None:
    # Breaks when a client that has gone is found out only by what it is sent.
    gone = Deaf(network)
    ask_for_too_much(network, gone)

    gone.close()

    with gevent.Timeout(STILL_THERE_SECONDS / 2):
        while unread(network) > LITTLE:
            gevent.sleep(0)


def test_what_a_request_gets_back_of_itself_is_bounded(network: Network) -> None:
    client = network.client("bob")

    with pytest.raises(PermissionDenied) as denied:
        client.start("x" * 16_000, Arguments(), None, "attach_if_same")

    assert len(encode(failure(denied.value))) < 3 * ERROR_CHARACTERS_MAX
    assert len(str(denied.value)) < 2 * ERROR_CHARACTERS_MAX
