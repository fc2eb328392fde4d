"""Ask each party that must sign a transaction for its signatures, and check every answer.

initiator                          signer (`ledger.flows.sign_transaction`)
Offer, and its history     ─────>
SignatureRequest(keys)     ─────>
                           <─────  SignatureAnswer(signatures)
"""

from collections.abc import Iterable, Sequence

from ledger.errors import SessionMissing, SignatureRejected
from ledger.flows.keys import keys_of_ours, owners_of
from ledger.flows.resolve import send_transaction
from ledger.signatures import TransactionSignature
from ledger.transactions import SignedTransaction
from runtime.codec import message
from runtime.keys import PublicKey
from runtime.party import AbstractParty, AnonymousParty, Party
from runtime.session import Session


@message(name="ledger.SignatureRequest")
class SignatureRequest:
    """Sign the transaction that I offered with these keys of yours."""

    keys: tuple[PublicKey, ...]


@message(name="ledger.SignatureAnswer")
class SignatureAnswer:
    """One signature for each key that was asked for, in that order."""

    signatures: tuple[TransactionSignature, ...]


def collect_signatures(
    signed: SignedTransaction, sessions: Sequence[Session], known: Iterable[AbstractParty] = ()
) -> SignedTransaction:
    """Return the transaction with the signatures of everybody but the notary.

    ``signed`` has our signatures already. Each key that is missing must belong to the counterparty
    of one of ``sessions``, directly, or by an identity that we were shown; ``known`` may name
    parties whose keys nobody could look up. Raises `SessionMissing` before anything is sent, and
    what a signer refuses with.
    """
    wanted = _keys_by_session(signed, sessions, tuple(known))
    for session, keys in wanted.items():
        signed = signed.with_signatures(*collect_signature(signed, session, keys))
    notary = signed.transaction.notary
    signed.verify_signatures_except({notary.key} if notary else frozenset())
    return signed


def collect_signature(
    signed: SignedTransaction, session: Session, keys: Sequence[PublicKey]
) -> tuple[TransactionSignature, ...]:
    """Ask one peer to sign with ``keys`` and return its signatures, each checked."""
    send_transaction(session, signed)
    request = SignatureRequest(tuple(keys))

    def check(answer: SignatureAnswer) -> tuple[TransactionSignature, ...]:
        signers = tuple(signature.key for signature in answer.signatures)
        if signers != request.keys:
            raise SignatureRejected(
                str(signed.id), f"{session.counterparty} did not sign with the keys asked for"
            )
        for signature in answer.signatures:
            signature.verify(signed.id)
        return answer.signatures

    return session.exchange(request, SignatureAnswer).unwrap(check)


def _keys_by_session(
    signed: SignedTransaction, sessions: Sequence[Session], known: tuple[AbstractParty, ...]
) -> dict[Session, list[PublicKey]]:
    notary = signed.transaction.notary
    missing = sorted(
        signed.missing_keys - ({notary.key} if notary else frozenset()),
        key=lambda key: (key.scheme, key.data),
    )
    ours = keys_of_ours(tuple(missing))
    if ours:
        names = ", ".join(key.fingerprint() for key in ours)
        raise SignatureRejected(str(signed.id), f"we have not signed with our own keys {names}")
    owners = _owners(missing, known)
    by_party = {session.counterparty: session for session in sessions}
    wanted: dict[Session, list[PublicKey]] = {}
    for key in missing:
        owner = owners.get(key) or _holder(key, sessions)
        session = by_party.get(owner) if owner else None
        if session is None:
            raise SessionMissing(
                f"key {key.fingerprint()} of {owner or 'somebody unknown'} must sign, "
                "and there is no session with its party"
            )
        wanted.setdefault(session, []).append(key)
    return wanted


def _owners(keys: Sequence[PublicKey], known: tuple[AbstractParty, ...]) -> dict[PublicKey, Party]:
    parties = (*known, *(AnonymousParty(key) for key in keys))
    owners = owners_of(parties)
    return {
        party.key: owner for party, owner in zip(parties, owners, strict=True) if owner is not None
    }


def _holder(key: PublicKey, sessions: Sequence[Session]) -> Party | None:
    return next((s.counterparty for s in sessions if s.counterparty.key == key), None)
