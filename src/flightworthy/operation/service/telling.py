"""From a batch's results to the answers of its callers, and to what they add to the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from flightworthy.decision.engine import Engine
from flightworthy.decision.record import ANSWERED
from flightworthy.decision.work import Earlier, Work
from flightworthy.governance.ledger import ACT, DECISION, OUTCOME
from flightworthy.integration.contract import Rejection
from flightworthy.operation.service import wire
from flightworthy.operation.service.answers import Answer, Problem, answer, encode
from flightworthy.operation.service.wire import Answers, Ask, Tally, Told


def answers_of(engine: Engine, asks: list[Ask], work: Work, took: float) -> Answers:
    """The answers of a batch, each the bytes of a response."""
    outputs, durable = engine.pilot.outputs, engine.pilot.manifest.service.durable
    results = engine.results(work)
    made = [answer(result, outputs, durable) for result in results]
    for place in [i for i, result in enumerate(work.results) if type(result) is Earlier]:
        made[place] = _as_told(engine, made[place])
    told, at = [], 0
    for ask in asks:
        end = at + len(ask.raws)
        if ask.many:
            told.append(Told(ask.number, 200, encode(made[at:end])))
        else:
            one = made[at]
            told.append(Told(ask.number, one.status if isinstance(one, Problem) else 200, encode(one)))
        at = end
    return Answers(told, _tally(results, work, took))


def refusals(asks: Iterable[Ask], error: BaseException | None) -> Answers:
    """Nothing was made durable, for this reason."""
    why = f"{type(error).__name__}: {error}"[:300].encode()
    return Answers([Told(ask.number, wire.REFUSED, why) for ask in asks])


def _as_told(engine: Engine, made: Any) -> Any:
    """What was told first is told again, also where it was told while the ledger was out of reach."""
    if not isinstance(made, Answer):
        return made
    found = engine.ledger.newest(ACT, [f"{ANSWERED}:{made.id}"])
    if not found:
        return made
    said = engine.line.records.read(engine.ledger.read(list(found.values()))[0]).said
    return Answer(made.id, made.decision, said["action"], float(said["quantity"]) if said["quantity"] else None,
                  dict.fromkeys(made.outputs), (), "default", [said["why"], "default"], None, made.pilot, said["decided"])


def _tally(results: list[Any], work: Work, took: float) -> Tally:
    bad = [result for result in results if type(result) is Rejection]
    good = [result for result in results if type(result) is not Rejection] if bad else results
    decided = Counter([(result.action, result.by, result.path[-1]) for result in good if result.kind == DECISION])
    outcomes = sum([result.kind == OUTCOME for result in good])
    return Tally(len(results), work.clocks[0] / 1e6, took, [(*key, n) for key, n in decided.items()],
                 dict(Counter([rejection.reason for rejection in bad])), outcomes)
