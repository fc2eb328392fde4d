"""What a node holds: a flow, so that anybody who may start flows can ask over RPC."""

from ledger.amounts import Amount
from ledger.query import IS_OWNED, Paging, Query, of_type
from ledger.vault import Vault
from runtime import flow, message, service, step
from samples.finance.cash import CashState
from samples.finance.commercial_paper import CommercialPaper


@message(name="trade.Holdings")
class Holdings:
    """Cash of one currency, and the number of commercial papers."""

    cash: Amount
    papers: int


@flow(name="trade.holdings")
def holdings(currency: str = "USD") -> Holdings:
    """Return what this node owns."""
    return _look(currency)


@step(kind="pure")
def _look(currency: str) -> Holdings:
    vault = service(Vault)
    papers = Query(of_type(CommercialPaper) & IS_OWNED.equals(True), paging=Paging(1, 1))
    return Holdings(vault.balance(CashState, currency), vault.query(papers).total)
