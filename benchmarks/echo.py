"""A ZeroMQ socket that sends back what it gets, in a process of its own: the peer in `limits`.

It prints one line, ``<endpoint> <public CURVE key>``, and ends when its standard input does.
"""

import sys
from typing import Final

import zmq

MESSAGES_BETWEEN_POLLS: Final = 1_000


def main() -> None:
    """Answer on a free port of the loopback interface until standard input is closed."""
    public, secret = zmq.curve_keypair()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.curve_server = True
        socket.curve_secretkey = secret
        socket.set_hwm(0)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        print(f"tcp://127.0.0.1:{port} {public.decode()}", flush=True)
        serve(socket)


def serve(socket: zmq.Socket[bytes]) -> None:
    """Send every message back to where it came from."""
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if sys.stdin.fileno() in ready:
            return
        for _ in range(MESSAGES_BETWEEN_POLLS):
            try:
                parts = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            socket.send_multipart(parts)


if __name__ == "__main__":
    main()
