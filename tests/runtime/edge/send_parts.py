"""A member that never finishes a message in time: part after part, from a process of its own.

ZeroMQ ends a process in which a connection breaks in the middle of a message that it sends, now and
then; that must not be the process of the tests.

    python -m tests.runtime.edge.send_parts COUNT GREETING PUBLIC SECRET SERVER ENDPOINT...

``GREETING`` is a frame in hex, or nothing; after it the parts wait for a line on standard input.
"""

import sys
import time
from typing import Final

import zmq

PART: Final = bytes(256 * 1024)


def main(count: str, greeting: str, public: str, secret: str, server: str, *where: str) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealers = []
    for endpoint in where:
        dealer = context.socket(zmq.DEALER)
        dealer.curve_publickey, dealer.curve_secretkey = public.encode(), secret.encode()
        dealer.curve_serverkey = server.encode()
        dealer.connect(endpoint)
        dealers.append(dealer)
    if greeting:
        for dealer in dealers:
            dealer.send(bytes.fromhex(greeting))
        sys.stdin.readline()
    for dealer in dealers:
        for part in [*[PART] * int(count), b""]:
            send(dealer, part)
    time.sleep(3_600)


def send(dealer: "zmq.Socket[bytes]", part: bytes) -> None:
    """Send a part, or the empty one that ends the message, as soon as there is room."""
    while True:
        try:
            dealer.send(part, (zmq.SNDMORE if part else 0) | zmq.NOBLOCK, copy=False)
        except zmq.Again:
            time.sleep(0.001)
        else:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
