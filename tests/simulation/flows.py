"""Flows of the simulated histories."""

from random import Random

from runtime import (
    FlowException,
    FlowTimeout,
    HoldForOperator,
    Party,
    Retry,
    RetryLater,
    Session,
    SessionClosed,
    SessionNotOpen,
    StepInterrupted,
    UnexpectedFlowEnd,
    atomic,
    durable,
    flow,
    initiate,
    me,
    message,
    now,
    receive_all,
    responder,
    rng,
    send_all,
    service,
    sleep,
    step,
    timeout,
    uuid4,
)
from runtime.atomic import StoreTxn
from runtime.ports import Space
from runtime.testing.world import OutsideWorld

COUNTS = Space("counts")


class Enough(FlowException):
    """The responder has seen enough rounds."""


@message
class Ball:
    round: int
    padding: bytes = b""


# --- effects ----------------------------------------------------------------------------


@atomic
def count(txn: StoreTxn, what: str) -> int:
    number = int(txn.get(COUNTS, what.encode()) or 0) + 1
    txn.put(COUNTS, what.encode(), str(number).encode())
    return number


@step
def pay(what: str) -> str:
    service(OutsideWorld).did(what)
    return what


@step(kind="at_most_once")
def pay_at_most_once(what: str) -> str:
    service(OutsideWorld).did(what)
    return what


@step(retry=Retry(attempts=50, first_delay=0.5, ceiling=3.0))
def pay_when_it_works(what: str) -> int:
    world = service(OutsideWorld)
    world.did(what)
    if world.times(what) % 3:
        raise ConnectionError("try again")
    return world.times(what)


@step(kind="pure")
def think(number: int) -> int:
    return number * 2


@step(thread=True)
def compute(number: int) -> int:
    return number + 1


# --- ping-pong --------------------------------------------------------------------------


@flow
def play(peer: Party, rounds: int, padding: int = 0) -> list[int]:
    session = initiate(peer)
    seen = []
    for number in range(rounds):
        ball = session.exchange(Ball(number, bytes(padding)), Ball).unwrap(lambda it: it)
        seen.append(ball.round)
    return seen


@responder(play)
def play_back(session: Session) -> None:
    while True:
        try:
            ball = session.receive(Ball).unwrap(lambda it: it)
        except UnexpectedFlowEnd:
            return
        session.send(Ball(-ball.round, ball.padding))


@flow
def play_until_enough(peer: Party, rounds: int, patience: int) -> int:
    session = initiate(peer)
    session.send(patience)
    for number in range(rounds):
        session.exchange(number, int)
    return rounds


@responder(play_until_enough)
def play_until_enough_back(session: Session) -> None:
    patience = session.receive(int).unwrap(lambda it: it)
    while True:
        try:
            number = session.receive(int).unwrap(lambda it: it)
        except UnexpectedFlowEnd:
            return
        if number == patience:
            raise Enough(number, "rounds")
        session.send(number)


@flow
def play_and_forgive(peer: Party, rounds: int, patience: int) -> str:
    try:
        play_until_enough(peer, rounds, patience)
    except Enough as error:
        count(f"forgiven {uuid4()}")
        return f"enough after {error.args[0]}"
    return "all"


# --- one to many ------------------------------------------------------------------------


@flow
def ask_all(peers: list[Party], rounds: int) -> list[int]:
    sessions = [initiate(peer) for peer in peers]
    totals = []
    for number in range(rounds):
        send_all(sessions, number)
        answers = receive_all(sessions, int)
        totals.append(sum(answer.unwrap(lambda it: it) for answer in answers))
    for session in sessions:
        session.close()
    return totals


@responder(ask_all)
def answer_all(session: Session) -> None:
    while True:
        try:
            number = session.receive(int).unwrap(lambda it: it)
        except UnexpectedFlowEnd:
            return
        sleep(rng().random() * 3)
        session.send(number + 1)


# --- work -------------------------------------------------------------------------------


@flow
def work(token: str, rounds: int) -> list[int]:
    results = []
    for number in range(rounds):
        pay(f"{token} {number}")
        sleep(rng().random() * 2)
        results.append(count(f"{token} {number}"))
        pay_when_it_works(f"{token} flaky {number}")
        now()
        results.append(compute(think(number)))
        try:
            pay_at_most_once(f"{token} once {number}")
        except StepInterrupted:
            count(f"{token} interrupted {number}")
    return results


@flow
def wait_a_little(peer: Party, rounds: int, patience: float) -> list[str]:
    session = initiate(peer)
    seen: list[str] = []
    missing = 0
    for number in range(rounds):
        session.send(number)
        missing += 1
        try:
            with timeout(patience):
                while missing:
                    seen.append(str(session.receive(int).unwrap(lambda it: it)))
                    missing -= 1
        except FlowTimeout:
            count(f"late {uuid4()}")
    while missing:
        seen.append(str(session.receive(int).unwrap(lambda it: it)))
        missing -= 1
    return seen


@responder(wait_a_little)
def take_your_time(session: Session) -> None:
    info = session.peer
    assert info.flow_version == 1
    while True:
        try:
            number = session.receive(int).unwrap(lambda it: it)
        except UnexpectedFlowEnd:
            return
        sleep(rng().choice((0, 0.1, 5)))
        session.send(number)


# --- sub-flows --------------------------------------------------------------------------


@flow
def delegate(peers: list[Party], depth: int, token: str) -> int:
    pay(f"{token} depth {depth}")
    total = sum(play(peers[0], 2))
    try:
        play_until_enough(peers[-1], 3, depth)
    except Enough:
        total += count(f"{token} enough {depth}")
    if depth:
        total += delegate(peers[1:] + peers[:1], depth - 1, token)
    count(f"{token} depth {depth}")
    return total


@flow
def give_up(peer: Party) -> None:
    session = initiate(peer)
    session.send("hello")
    raise Enough(0, "at once")


@responder(give_up)
def never_give_up(session: Session) -> None:
    session.receive(str).unwrap(lambda it: it)
    session.receive(str).unwrap(lambda it: it)


@flow
def confer(peer: Party, depth: int) -> int:
    """Ask a peer that asks us back while we wait for it, and so on."""
    session = initiate(peer)
    session.send(depth)
    sleep(0.2)
    return session.receive(int).unwrap(lambda it: it)


@responder(confer)
def confer_back(session: Session) -> None:
    depth = session.receive(int).unwrap(lambda it: it)
    sleep(1)
    session.send(1 + (confer(session.counterparty, depth - 1) if depth else 0))


@flow
def tell(peer: Party, words: list[str]) -> None:
    """Send and forget."""
    session = initiate(peer)
    for word in words:
        session.send(word)


@responder(tell)
def hear(session: Session) -> None:
    try:
        while True:
            count("heard " + session.receive(str).unwrap(lambda it: it))
    except UnexpectedFlowEnd:
        count("heard it all")


@flow
def pour(peer: Party, size: int, count: int) -> int:
    session = initiate(peer)
    for _ in range(count):
        session.send(bytes(size))
    return session.receive(int).unwrap(lambda it: it)


@responder(pour)
def drink(session: Session) -> None:
    session.send(sum(len(session.receive(bytes).unwrap(lambda it: it)) for _ in range(6)))


@flow
def need_help(peer: Party, token: str, depth: int, times: int) -> int:
    """Held until an operator has helped a few times; then goes on where it was."""
    session = initiate(peer)
    answer = session.exchange(Ball(depth), Ball).unwrap(lambda it: it)
    pay(f"{token} {depth}")
    if depth:
        return answer.round + need_help(peer, token, depth - 1, times)
    if service(OutsideWorld).is_away(f"helper of {token}", times):
        raise HoldForOperator("help")
    count(f"{token} helped")
    return session.exchange(Ball(100), Ball).unwrap(lambda it: it).round


@flow
def try_later(peer: Party, token: str, depth: int, times: int) -> int:
    """Retried by the hospital, with back-off, until it works."""
    session = initiate(peer)
    answer = session.exchange(Ball(depth), Ball).unwrap(lambda it: it)
    if depth:
        return answer.round + try_later(peer, token, depth - 1, times)
    if service(OutsideWorld).is_away(f"weather of {token}", times):
        raise RetryLater("away")
    count(f"{token} tried")
    return session.exchange(Ball(100), Ball).unwrap(lambda it: it).round


@responder(need_help)
def go_on(session: Session) -> None:
    play_back.function(session)


@responder(try_later)
def go_on_later(session: Session) -> None:
    play_back.function(session)


@flow
def ask_nobody(peer: Party) -> None:
    """There is no responder to it."""
    initiate(peer).exchange(1, int)


@flow(version=2)
def ask_the_future(peer: Party) -> None:
    initiate(peer).send(1)


@responder("tests.simulation.flows.ask_the_future", version=1)
def answer_from_the_past(session: Session) -> None:
    """It is not of the version that is asked for."""


@flow
def soliloquy(rounds: int) -> list[int]:
    durable()
    return play(me(), rounds)


# --- whatever comes to mind -------------------------------------------------------------------


@flow
def improvise(peers: list[Party], seed: int, length: int, depth: int) -> int:
    """Do a number of things in an order that ``seed`` decides; nothing waits for ever."""
    return Improvisation(Random(seed), peers, [], depth).perform(length)


@responder(improvise)
def improvise_back(session: Session) -> None:
    random = rng()
    Improvisation(random, [session.counterparty, me()], [session], 0).perform(random.randint(0, 6))


class Improvisation:
    """Operations at random, on sessions that may be fresh, open, closed, failed or over."""

    def __init__(
        self, random: Random, peers: list[Party], sessions: list[Session], depth: int
    ) -> None:
        self.random = random
        self.peers = peers
        self.sessions = sessions
        self.depth = depth

    def perform(self, length: int) -> int:
        operations = (
            self.open,
            self.send,
            self.send,
            self.send_to_all,
            self.receive,
            self.receive,
            self.receive_from_all,
            self.exchange,
            self.ask_who,
            self.close,
            self.rest,
            self.act,
            self.write,
            self.delegate,
            self.give_up,
        )
        failed = 0
        for _ in range(length):
            try:
                self.random.choice(operations)()
            except (FlowException, UnexpectedFlowEnd, SessionClosed, SessionNotOpen):
                failed += 1
                if self.random.random() < 0.1:
                    raise
        return failed

    def session(self) -> Session:
        if not self.sessions:
            self.open()
        return self.random.choice(self.sessions)

    def open(self) -> None:
        # A responder has no responders of its own; it asks in the sub-flows that it delegates to.
        if self.depth or not self.sessions:
            self.sessions.append(initiate(self.random.choice(self.peers)))

    def send(self) -> None:
        self.session().send(self.random.randrange(1_000))

    def send_to_all(self) -> None:
        send_all(self.sessions, self.random.randrange(1_000))

    def receive(self) -> None:
        with timeout(self.random.choice((0, 0.05, 3))):
            self.session().receive(int).unwrap(lambda it: it)

    def receive_from_all(self) -> None:
        with timeout(self.random.choice((0, 0.05, 3))):
            receive_all(self.sessions, int)

    def exchange(self) -> None:
        with timeout(self.random.choice((0.05, 3))):
            self.session().exchange(self.random.randrange(1_000), int)

    def ask_who(self) -> None:
        with timeout(self.random.choice((0, 1))):
            assert self.session().peer.flow_version == 1

    def close(self) -> None:
        self.session().close()

    def rest(self) -> None:
        if self.random.random() < 0.2:
            durable()
        sleep(self.random.choice((0, 0.01, 1)))

    def act(self) -> None:
        self.random.choice((pay, pay_when_it_works))(f"improvised {uuid4()}")

    def write(self) -> None:
        count(f"improvised {now()} {uuid4()}")

    def delegate(self) -> None:
        improvise(self.peers, self.random.randrange(1_000), 5, max(self.depth - 1, 0))

    def give_up(self) -> None:
        if self.random.random() < 0.3:
            raise Enough("improvised")
