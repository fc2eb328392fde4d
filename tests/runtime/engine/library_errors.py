"""Errors of libraries that many apps use, each raised by the library itself."""

import http.server
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

import pydantic
import requests
import sqlalchemy
import sqlalchemy.exc
from sqlalchemy import text

SECONDS: Final = 30.0


class Order(pydantic.BaseModel):
    number: int
    lines: list[int]


class _NotFound(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404, "no such order")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def _get(port: int) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False  # No proxy of the machine's.
        return session.get(f"http://127.0.0.1:{port}/order", timeout=SECONDS)


def refuse_connection() -> None:
    _get(_closed_port())


def answer_404() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), _NotFound) as server:
        serving = threading.Thread(target=server.handle_request)
        serving.start()
        try:
            _get(server.server_port).raise_for_status()
        finally:
            serving.join(SECONDS)


def refuse_connection_of_urllib() -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(f"http://127.0.0.1:{_closed_port()}/", timeout=SECONDS)


def validate() -> None:
    Order.model_validate({"number": "x", "lines": ["y"]})


def insert_twice() -> None:
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.StaticPool)
    try:
        with engine.connect() as connection:
            connection.execute(text("create table orders (number integer unique)"))
            for _ in range(2):
                connection.execute(text("insert into orders values (:n)"), {"n": 1})
    finally:
        engine.dispose()


def parse() -> NoReturn:
    json.loads('{"number": ')
    raise AssertionError("it is no JSON")


@dataclass(frozen=True)
class LibraryError:
    """What a library raises, and by which classes it is caught; ``told`` are its attributes."""

    fail: Callable[[], None]
    cls: type[Exception]
    bases: tuple[type[Exception], ...]
    told: tuple[str, ...] = ()
    is_stood_in_for: bool = False


LIBRARY_ERRORS: Final = {
    "refused": LibraryError(
        refuse_connection,
        requests.ConnectionError,
        (requests.RequestException, OSError),
        ("request", "response"),
    ),
    "not found": LibraryError(
        answer_404, requests.HTTPError, (requests.RequestException, OSError), ("response",)
    ),
    "refused to urllib": LibraryError(
        refuse_connection_of_urllib, urllib.error.URLError, (OSError,), ("reason",)
    ),
    "invalid": LibraryError(
        validate, pydantic.ValidationError, (ValueError,), ("title",), is_stood_in_for=True
    ),
    "no integrity": LibraryError(
        insert_twice,
        sqlalchemy.exc.IntegrityError,
        (sqlalchemy.exc.DatabaseError, sqlalchemy.exc.SQLAlchemyError),
        ("orig", "statement", "params"),
    ),
    "no json": LibraryError(
        parse, json.JSONDecodeError, (ValueError,), ("msg", "doc", "pos", "lineno", "colno")
    ),
}
