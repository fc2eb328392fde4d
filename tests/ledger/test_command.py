"""What ``sennit ledger recover`` says of each end of a recovery."""

import pytest

from ledger.command import outcome_text
from runtime.operations import FlowDetail, FlowRow


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        ("completed", "", "is final"),
        ("failed", "NotaryError: no", "is not final: NotaryError: no"),
        ("killed", "FlowKilled: by ann", "is not final: FlowKilled: by ann"),
        ("waiting", "", "is not final: it has no answer yet; see: sennit flow show n/seller 7"),
        (
            "held",
            "held, it failed: x",
            "is not final: held, it failed: x; see: sennit flow show n/seller 7",
        ),
    ],
)
def test_each_end_of_a_recovery_is_told_in_words(status: str, error: str, text: str) -> None:
    row = FlowRow("7", "ledger.recover", 1, status, 0)

    assert outcome_text(FlowDetail(row=row, error=error), "n/seller") == text
