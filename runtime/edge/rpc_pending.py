"""What an RPC client has asked and waits for."""

from dataclasses import dataclass, field

import gevent.event

from runtime.errors import SennitError
from runtime.rpc_messages import Answer, Failure, Request, error_of


@dataclass(slots=True)
class Pending:
    """A request without its last answer. Of the answers to a watch the newest is enough."""

    request: Request
    body: bytes
    newest: Answer | SennitError | None = None
    has_news: gevent.event.Event = field(default_factory=gevent.event.Event)

    def put(self, news: Answer | SennitError) -> None:
        """Wake who waits for it."""
        self.newest = news
        self.has_news.set()

    def take(self, timeout_seconds: float | None) -> Answer | None:
        """Wait for news; return ``None`` when the time is over, raise an error that came."""
        if not self.has_news.wait(timeout_seconds):
            return None
        self.has_news.clear()
        news = self.newest
        match news:
            case SennitError():
                raise news
            case Failure():
                raise error_of(news)
            case _:
                return news
