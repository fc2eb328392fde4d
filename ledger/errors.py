"""The ledger's error tree. All of them are answers that cross to the peer.

LedgerError (FlowException)
├── TransactionVerificationError   a transaction is wrong; one class for each rule
│   ├── TransactionMalformed           bytes that are no transaction
│   ├── NoCommands   NothingDone       no command; neither input nor output
│   ├── DuplicateState                 a state twice among inputs or references, or in both
│   ├── NotaryMissing                  inputs, references or a time window need one
│   ├── NotaryMismatch                 a state that another notary watches over
│   ├── NotaryUnknown                  a notary that is none of the network's
│   ├── EncumbranceBroken              of an input that came alone, or outputs that form no cycle
│   ├── ConstraintUnknown              a contract constraint that this version can't check
│   ├── StateTypeUnknown   ContractUnknown   AttachmentMissing
│   ├── ParticipantsUnknown            a state that fails to say who takes part in it
│   ├── ContractMismatch               a state under a contract that it does not belong to
│   ├── ContractRejected               a contract's own verdict
│   ├── SignaturesMissing              required keys that have not signed
│   └── SignatureRejected              a signature that does not fit
├── TornOffWrong                   a filtered transaction does not prove, or hides, what was asked
├── ResolutionFailed               a peer can't, or must not be made to, serve a history
│   └── TransactionUnknown   AttachmentUnknown   NotOffered   HistoryTooLarge
├── ProposalRejected               a signer won't sign
│   └── WindowRejected                 so late as this could still become final
├── FinalityAborted                a participant did not hold a transaction, so all forget it
├── FinalityUndecided              whether a transaction becomes final is not known yet
├── SessionMissing                 a participant or signer is unknown, or has no session
├── StatesNotAvailable             locked by another flow, or consumed
│   └── InsufficientBalance
├── QueryInvalid                   a vault query that makes no sense, or would return too much
├── AttachmentInvalid              too large, or not what it claims to be
├── IdentityUnproven               a certificate of a one-time key that proves nothing
└── NotaryError                    the notary did not sign
    ├── NotaryConflict                 consumed states, by hash of the consuming id
    ├── TimeWindowInvalid   TransactionInvalid   RequestSignatureInvalid
    └── NotaryUnavailable              try again later
"""

from typing import Final

from ledger.uniqueness import Conflict
from runtime.errors import FlowException

# Peers choose much of what errors say: names of types, reasons, references.
TEXT_MAX: Final = 1_000


# Of the states in a conflict.
SHOWN_MAX: Final = 5


class LedgerError(FlowException):
    """Base of all errors of the ledger. Texts that they are given are cut to `TEXT_MAX`."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(bounded(arg) if isinstance(arg, str) else arg for arg in args))


class TransactionVerificationError(LedgerError):
    """A transaction breaks a rule. ``tx_id`` is the id in hexadecimal digits, if it has one."""

    def __init__(self, tx_id: str, reason: str) -> None:
        super().__init__(tx_id, reason)
        self.tx_id = bounded(tx_id)
        self.reason = bounded(reason)

    def __str__(self) -> str:
        return f"transaction {self.tx_id[:16] or '?'}: {self.reason}"


class TransactionMalformed(TransactionVerificationError):
    """Bytes that are no transaction, or a component that is not what its group holds."""


class NoCommands(TransactionVerificationError):
    """A transaction says by its commands what it does; this one has none."""


class NothingDone(TransactionVerificationError):
    """A transaction with neither inputs nor outputs changes nothing."""


class DuplicateState(TransactionVerificationError):
    """A state is twice among the inputs or the references, or in both."""


class NotaryMissing(TransactionVerificationError):
    """Inputs, references and time windows need a notary."""


class NotaryMismatch(TransactionVerificationError):
    """A state is watched over by another notary than the transaction's."""


class NotaryUnknown(TransactionVerificationError):
    """A transaction's notary is not one of the network's."""


class EncumbranceBroken(TransactionVerificationError):
    """An encumbered input came without its encumbrance, or outputs' encumbrances form no cycle."""


class ConstraintUnknown(TransactionVerificationError):
    """A state's contract constraint is of a kind that this version can't check."""


class StateTypeUnknown(TransactionVerificationError):
    """The class of a state or command is not installed here; install the app that has it."""


class ParticipantsUnknown(TransactionVerificationError):
    """A state of the transaction fails to say who takes part in it."""


class ContractUnknown(TransactionVerificationError):
    """A contract is not installed here; install the app that has it."""


class AttachmentMissing(TransactionVerificationError):
    """An attachment that the transaction names is not in the store."""


class ContractMismatch(TransactionVerificationError):
    """A state stands under a contract that its class does not belong to."""


class ContractRejected(TransactionVerificationError):
    """A contract's verdict. ``contract`` is its name; ``reason`` what it required."""

    def __init__(self, reason: str, contract: str = "", tx_id: str = "") -> None:
        super().__init__(tx_id, reason)
        self.args = (self.reason, bounded(contract), self.tx_id)
        self.contract = bounded(contract)

    def __str__(self) -> str:
        by = f" ({self.contract}, transaction {self.tx_id[:16]})" if self.contract else ""
        return f"contract rejects: {self.reason}{by}"


class SignaturesMissing(TransactionVerificationError):
    """Keys that must sign have not."""


class SignatureRejected(TransactionVerificationError):
    """A signature does not fit its key and the transaction."""


class TornOffWrong(LedgerError):
    """A filtered transaction does not prove what it shows, or hides what must be seen."""


class ResolutionFailed(LedgerError):
    """The history of a transaction can't be had from the peer."""


class TransactionUnknown(ResolutionFailed):
    """No such transaction in the store."""


class AttachmentUnknown(ResolutionFailed):
    """No such attachment in the store."""


class NotOffered(ResolutionFailed):
    """A peer asked for something that can't be reached from what it was offered, or asked twice."""


class HistoryTooLarge(ResolutionFailed):
    """The history has more transactions than this node is willing to take."""


class ProposalRejected(LedgerError):
    """A signer refuses to sign what was proposed."""


class WindowRejected(ProposalRejected):
    """A proposal could become final later than the signer accepts; or clocks differ too much."""


class FinalityAborted(LedgerError):
    """Somebody did not hold a transaction in phase one; the notary was not asked, all forget it."""


class FinalityUndecided(LedgerError):
    """Nobody who can be asked knows yet whether a transaction becomes final: ask again later."""


class SessionMissing(LedgerError):
    """A participant or signer can't be told: no session with it, or nobody knows who it is."""


class StatesNotAvailable(LedgerError):
    """States are consumed, unknown, or locked by another flow."""


class InsufficientBalance(StatesNotAvailable):
    """Not enough unlocked states to cover an amount. ``missing`` is in the smallest unit."""

    def __init__(self, missing: int, product: str) -> None:
        super().__init__(missing, product)
        self.missing = missing
        self.product = bounded(product)

    def __str__(self) -> str:
        return f"insufficient balance: {self.missing} {self.product} are missing"


class QueryInvalid(LedgerError):
    """A vault query that makes no sense, or whose result is too large to come unpaged."""


class AttachmentInvalid(LedgerError):
    """An attachment is too large, or its bytes are not what its hash says."""


class IdentityUnproven(LedgerError):
    """A certificate does not prove that a one-time key belongs to the party it names."""


class NotaryError(LedgerError):
    """The notary did not sign; nothing was consumed."""


class NotaryConflict(NotaryError):
    """Some states are consumed; ``conflict`` says which, and by the hash of what."""

    def __init__(self, conflict: Conflict) -> None:
        super().__init__(conflict)
        self.conflict = conflict

    def __str__(self) -> str:
        consumed = self.conflict.consumed
        refs = ", ".join(f"{state.kind} {state.ref}" for state in consumed[:SHOWN_MAX])
        more = f" and {len(consumed) - SHOWN_MAX} more" if len(consumed) > SHOWN_MAX else ""
        return f"transaction {str(self.conflict.tx_id)[:16]} asks for consumed states: {refs}{more}"


class TimeWindowInvalid(NotaryError):
    """The notary's clock is not inside the transaction's time window."""


class TransactionInvalid(NotaryError):
    """A validating notary found the transaction wrong."""


class RequestSignatureInvalid(NotaryError):
    """The request is not signed by the party that sent it."""


class NotaryUnavailable(NotaryError):
    """The notary can't answer now; it is safe to ask again after ``wait_seconds``."""

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(wait_seconds)
        self.wait_seconds = wait_seconds

    def __str__(self) -> str:
        return f"the notary is busy; ask again in {self.wait_seconds} s"


def bounded(text: str) -> str:
    """Return ``text``, cut if it is too long for an error."""
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 3]}..."
