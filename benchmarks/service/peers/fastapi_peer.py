"""FastAPI on uvicorn: a typed request, the model in the handler, a typed answer.

With ``--audit FILE`` each score is committed to SQLite before it is answered: the audit a team would write.
"""

from __future__ import annotations

import argparse
import sqlite3
from typing import Annotated, Any

import numpy as np
import uvicorn
from events_model import Event
from fastapi import Body, FastAPI
from pydantic import BaseModel
from scorer import Scorer

INSERT = "INSERT INTO decisions VALUES (?, ?, ?, ?, ?)"


class Decision(BaseModel):
    """The answer."""

    id: str
    score: float
    action: str


def action(score: float) -> str:
    return "decline" if score > 0.6 else "review" if score > 0.3 else "approve"


def audit(path: str) -> sqlite3.Connection:
    """A table of decisions; a commit is on the disk when it returns."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE IF NOT EXISTS decisions (id TEXT PRIMARY KEY, time TEXT, event TEXT, score REAL, action TEXT)")
    return db


def build(scorer: Scorer, db: sqlite3.Connection | None) -> FastAPI:
    """The application; its handler is a coroutine, for a thread pool on one core only adds switches."""
    app = FastAPI()
    inputs = scorer.inputs

    @app.post("/score")
    async def score(event: Annotated[Event, Body()]) -> Decision:
        found = float(scorer.rows(np.array([[getattr(event, name) for name in inputs]]))[0])
        told = Decision(id=event.transaction_id, score=found, action=action(found))
        if db is not None:
            db.execute(INSERT, (told.id, event.tx_time, event.model_dump_json(), found, told.action))
        return told

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"ok": True}

    return app


def main() -> None:
    """Listen until a signal."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--folder", required=True)
    args.add_argument("--port", type=int, required=True)
    args.add_argument("--audit", default="")
    given = args.parse_args()
    app = build(Scorer(given.folder), audit(given.audit) if given.audit else None)
    uvicorn.run(app, host="127.0.0.1", port=given.port, http="httptools", loop="uvloop", ws="none", log_level="warning",
                access_log=False, backlog=4096)


if __name__ == "__main__":
    main()
