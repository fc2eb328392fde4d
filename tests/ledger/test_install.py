"""Putting the ledger on a host: once, however many apps ask for it, and by its name alone."""

import ledger
from ledger.vault import Vault
from runtime.host import Host
from runtime.testing.network import SimulatedNetwork
from samples.finance import cash_flows
from samples.finance.cash import CashState


def install_twice(host: Host) -> None:
    ledger.install(host)
    ledger.install(host)


def test_two_apps_that_both_install_the_ledger_share_it() -> None:
    network = SimulatedNetwork()

    alice = network.node("Alice", install=install_twice)

    assert len(alice.host.resolvers) == 1
    assert alice.host.service(Vault) is not None


def test_the_ledger_is_an_app_of_its_own() -> None:
    network = SimulatedNetwork()
    notary = network.node("Notary", install=ledger.install, notary="non-validating")
    bank = network.node("Bank", apps=[ledger, cash_flows], install=ledger.install)

    issued = bank.start_flow(
        cash_flows.issue_cash, ledger.Amount(100, "USD"), bank.party, notary.party
    )

    assert issued.result().is_notarised
    assert bank.host.service(Vault).balance(CashState, "USD").quantity == 100
