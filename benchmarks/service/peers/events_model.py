"""The event as a typed request."""

from __future__ import annotations

from pydantic import BaseModel, create_model

Event: type[BaseModel] = create_model("Event", transaction_id=(str, ...), tx_time=(str, ...), card_id=(int, ...),
                                      terminal_id=(int, ...), amount=(float, ...),
                                      **{f"f{i}": (float, ...) for i in range(1, 27)})
