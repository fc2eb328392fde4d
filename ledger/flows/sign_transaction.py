"""Sign a transaction that a peer proposes, after checking it as if our money depended on it."""

from collections.abc import Callable
from typing import Final

from ledger.effect import Expected, NetEffect, net_effect
from ledger.errors import ProposalRejected
from ledger.flows.collect_signatures import SignatureAnswer, SignatureRequest
from ledger.flows.keys import keys_of_ours, sign_with
from ledger.flows.resolve import receive_transaction
from ledger.flows.storing import verify_transaction
from ledger.ledger_transaction import LedgerTransaction
from ledger.states import parties_in
from ledger.transactions import SignedTransaction
from runtime.context import now
from runtime.keys import PublicKey
from runtime.session import Session

# Nobody takes part in one transaction under more keys than this.
KEYS_MAX: Final = 1_000

Check = Callable[[LedgerTransaction], None]
"""Raises what the proposer is to be told, if we don't want what the transaction does."""


def accept_all(_: LedgerTransaction) -> None:
    """Want whatever is valid and expected."""


def sign_transaction(
    session: Session, expected: Expected, check: Check = accept_all
) -> SignedTransaction:
    """Receive a proposal, with its history, and sign it; return it with our signatures.

    Before ``check`` is asked, the contracts have accepted the transaction, every signature on it
    is right, the proposer's own among them, only keys of ours, the notary and other signers are
    missing, and its effect on us is what is ``expected``. ``check`` may refuse more, never less.
    Raises `ProposalRejected`, or what ``check`` raises; the peer is told.
    """
    signed = receive_transaction(session)
    request = session.receive(SignatureRequest).unwrap(lambda asked: _checked(signed, asked))
    _check_proposer(session, signed)
    resolved = verify_transaction(signed, signed.missing_keys)
    expected.check(effect_on_us(resolved), now())
    check(resolved)
    signatures = tuple(sign_with(signed.id, key) for key in request.keys)
    session.send(SignatureAnswer(signatures))
    return signed.with_signatures(*signatures)


def effect_on_us(transaction: LedgerTransaction) -> NetEffect:
    """Return what a transaction, verified here, does to this node under any of its keys."""
    states = (*(state.state for state in transaction.inputs), *transaction.outputs)
    keys = (
        *(party.key for state in states for party in parties_in(state.data)),
        *(key for command in transaction.commands for key in command.signers),
    )
    return net_effect(transaction, keys_of_ours(tuple(dict.fromkeys(keys))))


def _checked(signed: SignedTransaction, request: SignatureRequest) -> SignatureRequest:
    if not 1 <= len(request.keys) <= KEYS_MAX or len(set(request.keys)) != len(request.keys):
        raise ProposalRejected(f"ask for signatures of 1 to {KEYS_MAX} keys, each once")
    ours = set(keys_of_ours(request.keys))
    for key in request.keys:
        # One answer, or a peer could find out by asking whose a one-time key is.
        if key not in ours or key not in signed.transaction.party_keys:
            raise ProposalRejected(
                f"key {key.fingerprint()} is not one of ours that has to sign this transaction"
            )
    return request


def _check_proposer(session: Session, signed: SignedTransaction) -> None:
    """Refuse what nobody has signed yet: whoever proposes commits itself first."""
    required = signed.transaction.required_keys
    if not signed.signing_keys & required and not _only_ours(required):
        raise ProposalRejected(f"{session.counterparty} proposes what it has not signed itself")


def _only_ours(keys: frozenset[PublicKey]) -> bool:
    asked = tuple(sorted(keys, key=lambda key: (key.scheme, key.data)))
    return len(keys_of_ours(asked)) == len(keys)
