"""Flows of the tests: a deal that all its parties sign, made and changed, well and badly."""

from collections.abc import Sequence

from ledger.builder import TransactionBuilder
from ledger.effect import FOREVER, Expected
from ledger.errors import ProposalRejected
from ledger.flows.collect_signatures import collect_signatures
from ledger.flows.finality import finalise
from ledger.flows.identities import receive_identities, send_identities, swap_identities
from ledger.flows.keys import fresh_salt, sign_transaction_with
from ledger.flows.receive_finality import receive_finality
from ledger.flows.sign_transaction import sign_transaction
from ledger.ledger_transaction import LedgerTransaction
from ledger.states import StateAndRef
from ledger.time_window import TimeWindow
from ledger.transactions import SignedTransaction
from runtime import Party, Session, flow, initiate, me, message, responder
from tests.ledger.parties import Deal, Do, linear_id

ANY_DEAL = Expected(gives=[Deal], gets=[Deal], signs=[Do], within=FOREVER)


@message(name="tests.Step")
class Step:
    """What the initiator does next with this session."""

    what: str


@flow(name="tests.agree")
def agree(
    others: list[Party],
    note: str,
    notary: Party,
    replaces: StateAndRef[Deal] | None = None,
    window: TimeWindow | None = None,
) -> SignedTransaction:
    """Make a deal with ``others``, all sign; it may replace one."""
    parties = (me(), *others)
    builder = TransactionBuilder(notary)
    builder.time_window = window
    if replaces is not None:
        builder.add_input(replaces)
    builder.add_output(Deal(linear_id=linear_id(1), parties=parties, note=note))
    builder.add_command(Do("agree"), *(party.key for party in parties))
    signed = sign_with_us(builder)
    sessions = [initiate(other) for other in others]
    for session in sessions:
        session.send(Step("sign"))
    signed = collect_signatures(signed, sessions)
    return finalise(signed, sessions)


@responder(agree)
def join(session: Session) -> None:
    """Sign whatever is not bad, and take part in its finality."""
    session.receive(Step).unwrap(lambda step: step)
    signed = sign_transaction(session, ANY_DEAL, not_bad)
    receive_finality(session, expected=signed.id)


@flow(name="tests.finish")
def finish(signed: SignedTransaction, others: list[Party]) -> SignedTransaction:
    """Finalise what was signed before."""
    return finalise(signed, [initiate(other) for other in others])


@responder(finish)
def witness(session: Session) -> None:
    """Take part in a finality."""
    receive_finality(session, check=not_bad)


def _obey(session: Session) -> None:
    """Take part in whichever finality."""
    receive_finality(session)


# No module-level name of a test app: registered by hand where a node is to be obedient.
OBEDIENT = [responder(finish)(_obey)]


@flow(name="tests.collect")
def collect(signed: SignedTransaction, others: list[Party]) -> SignedTransaction:
    """Collect signatures and do nothing with them."""
    return collect_signatures(signed, [initiate(other) for other in others])


@responder(collect)
def sign_only(session: Session) -> None:
    """Sign whatever is not bad."""
    sign_transaction(session, ANY_DEAL, not_bad)


@flow(name="tests.agree_anonymously")
def agree_anonymously(other: Party, third: Party, notary: Party) -> SignedTransaction:
    """Make a deal under one-time identities, and let a third party, who signs nothing, see who."""
    session = initiate(other)
    session.send(Step("swap"))
    swapped = swap_identities(session)
    builder = TransactionBuilder(notary)
    builder.add_output(Deal(linear_id=linear_id(2), parties=(swapped.ours, swapped.theirs, third)))
    builder.add_command(Do("agree"), swapped.ours.key, swapped.theirs.key)
    signed = collect_signatures(sign_with_us(builder), [session])
    watcher = initiate(third)
    watcher.send(Step("identities"))
    send_identities(watcher, signed.transaction)
    return finalise(signed, [session, watcher])


@responder(agree_anonymously)
def join_anonymously(session: Session) -> None:
    """Join under a one-time identity, or learn who did."""
    step = session.receive(Step).unwrap(lambda step: step)
    if step.what == "swap":
        swap_identities(session)
        sign_transaction(session, ANY_DEAL, not_bad)
    else:
        receive_identities(session)
    receive_finality(session)


@flow(name="tests.build")
def build(
    parties: list[Party],
    note: str,
    notary: Party,
    replaces: Sequence[StateAndRef[Deal]] = (),
    window: TimeWindow | None = None,
    reads: Sequence[StateAndRef[Deal]] = (),
) -> SignedTransaction:
    """Return a deal signed by us only."""
    builder = TransactionBuilder(notary)
    builder.time_window = window
    builder.add_input(*replaces)
    builder.add_reference(*reads)
    builder.add_output(Deal(linear_id=linear_id(1), parties=tuple(parties), note=note))
    builder.add_command(Do("build"), me().key)
    return sign_with_us(builder)


def sign_with_us(builder: TransactionBuilder) -> SignedTransaction:
    signed = SignedTransaction(builder.to_wire(fresh_salt()).encoded)
    return sign_transaction_with(signed, builder.signers)


def not_bad(transaction: LedgerTransaction) -> None:
    if any(deal.note == "bad" for deal in transaction.outputs_of(Deal)):
        raise ProposalRejected("a bad deal")
