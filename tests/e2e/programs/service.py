"""A web service on gevent that runs a flow for each request, beside a greenlet that ticks.

It asks itself a number of times at once, prints the answers, and whether the ticks went on.
"""

import sys
import urllib.parse
from collections.abc import Callable, Iterable

import gevent
import gevent.pywsgi
import gevent.socket

from runtime.node import Node
from tests.e2e.flows import add

REQUESTS = 20

StartResponse = Callable[[str, list[tuple[str, str]]], object]


class Service:
    """A WSGI application over a node."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __call__(self, environ: dict[str, str], start_response: StartResponse) -> Iterable[bytes]:
        query = urllib.parse.parse_qs(environ["QUERY_STRING"])
        starter = self.node.options(client_id=query["id"][0])
        handle = starter.start_flow(add, int(query["a"][0]), int(query["b"][0]))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(handle.result(timeout=10)).encode()]


def ask(port: int, number: int) -> str:
    with gevent.socket.create_connection(("127.0.0.1", port)) as connection:
        request = f"GET /?a={number}&b=1000&id=request-{number} HTTP/1.0\r\n\r\n"
        connection.sendall(request.encode())
        with connection.makefile("r") as answer:
            return answer.read().rpartition("\n")[2]


def main(directory: str) -> None:
    ticks = [0]

    def tick() -> None:
        while True:
            ticks[0] += 1
            gevent.sleep(0.001)

    ticker = gevent.spawn(tick)
    with Node(directory) as node:
        server = gevent.pywsgi.WSGIServer(("127.0.0.1", 0), Service(node), log=None)
        server.start()
        assert server.server_port is not None
        port: int = server.server_port
        ticks_before = ticks[0]
        asking = [gevent.spawn(ask, port, number) for number in range(REQUESTS)]
        gevent.joinall(asking, raise_error=True)
        print(",".join(greenlet.get() for greenlet in asking))
        print("ticked" if ticks[0] > ticks_before + 3 else f"{ticks[0] - ticks_before} ticks")
        server.stop()
    ticks_after = ticks[0]
    gevent.sleep(0.05)
    print("ticks on" if ticks[0] > ticks_after else "the ticker stands still")
    ticker.kill()


if __name__ == "__main__":
    main(sys.argv[1])
