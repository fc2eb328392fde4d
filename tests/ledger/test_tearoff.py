"""Filtered transactions: what is shown is proven, what is hidden stays hidden."""

import pytest

from ledger.components import Group
from ledger.errors import TornOffWrong
from ledger.hashing import SecureHash
from ledger.merkle import PartialTree
from ledger.states import StateRef, changed
from ledger.tearoff import (
    NOTARY_GROUPS,
    FilteredGroup,
    FilteredTransaction,
    filter_transaction,
    for_notary,
)
from ledger.testing import Ledger
from ledger.time_window import TimeWindow
from ledger.transactions import WireTransaction
from runtime.codec import decode, encode, pack, unpack
from runtime.errors import BadMessage
from tests.ledger.parties import ALICE, BOB, NOTARY, Do, Thing


def transaction() -> WireTransaction:
    draft = Ledger(NOTARY.party).transaction()
    for name in ("one", "two", "three"):
        draft.input(Thing(owner=ALICE.party, name=name))
        draft.output(Thing(owner=BOB.party, name=name))
    draft.reference(Thing(owner=ALICE.party, name="read"))
    draft.command(Do("first"), ALICE.key)
    draft.command(Do("second"), BOB.key)
    draft.attachment(b"text")
    draft.time_window(TimeWindow(1, 2))
    return draft.verifies()


TX = transaction()


def test_the_notary_sees_what_it_checks_and_nothing_else() -> None:
    shown = unpack(pack(for_notary(TX)), FilteredTransaction)

    shown.verify()

    assert shown.id == TX.id
    assert shown.inputs == TX.inputs
    assert shown.references == TX.references
    assert shown.time_window == TX.time_window
    assert shown.notary == NOTARY.party
    assert shown.components(Group.OUTPUTS) == ()
    assert b"three" not in encode(shown)
    for group in NOTARY_GROUPS:
        shown.check_all_components_visible(group)


@pytest.mark.parametrize("group", list(Group))
def test_any_single_group_can_be_shown(group: Group) -> None:
    shown = filter_transaction(TX, lambda g, _: g == group)

    shown.verify()
    shown.check_all_components_visible(group)

    assert shown.components(group) == TX.components(group)


def test_a_single_component_can_be_shown() -> None:
    shown = filter_transaction(TX, lambda _, value: value == TX.inputs[1])

    shown.verify()

    assert shown.inputs == (TX.inputs[1],)
    assert shown.notary is None
    assert shown.time_window is None


@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_a_hidden_component_is_noticed(hidden: int) -> None:
    shown = filter_transaction(TX, lambda g, v: g == Group.INPUTS and v != TX.inputs[hidden])
    shown.verify()

    with pytest.raises(TornOffWrong, match="INPUTS are hidden"):
        shown.check_all_components_visible(Group.INPUTS)


def test_a_group_that_is_hidden_altogether_is_noticed() -> None:
    shown = filter_transaction(TX, lambda g, _: g == Group.NOTARY)

    with pytest.raises(TornOffWrong, match="REFERENCES are hidden"):
        shown.check_all_components_visible(Group.REFERENCES)
    shown.check_all_components_visible(Group.PARAMETERS)


def test_a_shown_command_brings_all_signers() -> None:
    shown = filter_transaction(TX, lambda _, v: getattr(v, "data", None) == Do("first"))

    shown.verify()
    shown.check_command_visibility(ALICE.key)

    assert shown.signers == ([ALICE.key], [BOB.key])
    with pytest.raises(TornOffWrong, match="command 1"):
        shown.check_command_visibility(BOB.key)


def test_without_signers_nobody_knows_which_commands_to_look_for() -> None:
    shown = filter_transaction(TX, lambda g, _: g == Group.INPUTS)

    with pytest.raises(TornOffWrong, match="SIGNERS are hidden"):
        shown.check_command_visibility(ALICE.key)


def only(group: Group) -> FilteredTransaction:
    return filter_transaction(TX, lambda g, _: g == group)


def forged(shown: FilteredTransaction, **fields: object) -> FilteredTransaction:
    return changed(shown, groups=(changed(shown.groups[0], **fields),))


def test_another_component_than_the_one_in_the_transaction_is_refused() -> None:
    other = encode(StateRef(SecureHash.of(b"other"), 0))
    shown = only(Group.INPUTS)

    with pytest.raises(TornOffWrong, match="INPUTS is not proven"):
        forged(shown, components=(other, *shown.groups[0].components[1:])).verify()


def test_a_component_shown_in_another_group_is_refused() -> None:
    with pytest.raises(TornOffWrong, match="REFERENCES is not proven"):
        forged(only(Group.INPUTS), group=int(Group.REFERENCES)).verify()


def test_roots_that_do_not_lead_to_the_id_are_refused() -> None:
    shown = changed(only(Group.INPUTS), id=SecureHash.of(b"other"))

    with pytest.raises(TornOffWrong, match="do not lead to the id"):
        shown.verify()


def test_a_malformed_proof_is_refused() -> None:
    shown = only(Group.INPUTS)
    short = PartialTree(3, (0, 1, 2), ())

    with pytest.raises(TornOffWrong, match="malformed"):
        forged(shown, proof=short).verify()


def test_a_component_that_is_not_what_its_group_holds_is_refused() -> None:
    shown = forged(only(Group.NOTARY), components=(b"\xc0",))

    with pytest.raises(TornOffWrong, match="NOTARY"):
        _ = shown.notary


def test_shapes_that_make_no_sense_do_not_decode() -> None:
    shown = only(Group.INPUTS)
    group = shown.groups[0]
    twice = {
        "$": "ledger.FilteredTransaction",
        "id": shown.id,
        "roots": shown.roots,
        "groups": [group, group],
    }

    with pytest.raises(BadMessage, match="shown once"):
        decode(encode(twice), FilteredTransaction)
    with pytest.raises(ValueError, match="group roots"):
        changed(shown, roots=())
    with pytest.raises(ValueError, match="no component group"):
        FilteredGroup(77, group.components, group.nonces, group.proof)
    with pytest.raises(ValueError, match="its nonce and its position"):
        FilteredGroup(0, group.components, (), group.proof)
    with pytest.raises(ValueError, match="nonce must have"):
        FilteredGroup(0, group.components, (b"",) * 3, group.proof)
