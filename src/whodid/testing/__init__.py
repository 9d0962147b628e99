"""What tests of and around whodid share.

For an application's tests, with pytest, unittest or nothing:

```python
def test_deleting_an_invoice_is_recorded(client):
    with capture_events(audit) as events:
        client.post("/invoices/42/delete")

    events.assert_recorded("invoice.delete", target="invoice:42", actor="user:7")
```

For a store's tests: builders, and `StoreContract`, which needs pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whodid.testing.builders import EVERYTHING, NOON, a_query, an_event, minutes, prepared
from whodid.testing.captured import Recorded, capture_events

if TYPE_CHECKING:
    from whodid.testing.contract import MakeStore, StoreContract

__all__ = [
    "EVERYTHING", "NOON", "MakeStore", "Recorded", "StoreContract", "a_query", "an_event",
    "capture_events", "minutes", "prepared",
]  # fmt: skip


def __getattr__(name: str) -> Any:  # `Any`: a class and an alias
    # At first use: an application that tests with unittest has no pytest.
    if name in ("MakeStore", "StoreContract"):
        from whodid.testing import contract

        return getattr(contract, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
