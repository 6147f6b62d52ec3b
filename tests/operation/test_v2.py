"""The Open Inference Protocol as pure functions: requests built by hand, answers read by hand, and mutated bodies."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightworthy.decision.engine import Engine
from flightworthy.governance.reasons import Reason
from flightworthy.integration.contract import Contract
from flightworthy.manifest.load import load
from flightworthy.operation.service.answers import Answer, Noted, answer, problem
from flightworthy.operation.service.v2 import Asked, V2Error, error, metadata, read, server_metadata, write
from tests.conftest import PILOTS, Trained

STARTER, FRAUD, TURBOFAN = (load(PILOTS / name) for name in ("starter", "fraud", "turbofan"))
ROWS: dict[str, list[Any]] = {"invoice": ["I1", "I2"], "issued": ["2026-01-01T08:00:00Z", "2026-01-01T08:00:01Z"], "customer_id": ["K1", "Kä"],
        "amount": [120.5, 7.0], "terms": ["net30", "net14"]}
EVENTS = [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
NOTHING = problem(422, "range", "the record was not accepted", "too small", "amount")
DECIDED = Answer("I1", 7, "remind", 12.5, {"score": 0.25}, (Reason("amount", "High", 0.5),), "model", ["champion"], "ab", "cd", "now")


def texts(values: Sequence[str | bytes]) -> bytes:
    """BYTES in binary form."""
    raw = [value.encode() if isinstance(value, str) else value for value in values]
    return b"".join(struct.pack("<I", len(value)) + value for value in raw)


def spoken(**changed: dict[str, Any]) -> list[dict[str, Any]]:
    """The inputs of a request in JSON, some with changed members."""
    return [{"name": name, "shape": [2], "datatype": "FP64" if name == "amount" else "BYTES", "data": data} | changed.get(name, {})
            for name, data in ROWS.items()]


def ask(inputs: list[dict[str, Any]] | None = None, pilot: Any = STARTER, **members: Any) -> Asked:
    """A request in JSON, read."""
    return read(pilot, json.dumps({"inputs": spoken() if inputs is None else inputs, **members}).encode(), None)


def binary(amount: Any = None, **members: Any) -> tuple[bytes, int]:
    """A request with all data in binary form, and the length of its JSON; the amounts as (datatype, array)."""
    amount = amount or ("FP64", np.array([120.5, 7.0]))
    parts = {name: amount[1].tobytes() if name == "amount" else texts(data) for name, data in ROWS.items()}
    inputs = [{"name": name, "shape": [2, 1], "datatype": amount[0] if name == "amount" else "BYTES",
               "parameters": {"binary_data_size": len(part)}} for name, part in parts.items()]
    head = json.dumps({"inputs": inputs, **members}).encode()
    return head + b"".join(parts.values()), len(head)


def outputs(said: tuple[bytes, int | None]) -> dict[str, Any]:
    """The tensors of a response by name, JSON or binary; every byte must belong to one."""
    body, length = said
    found: dict[str, Any] = {}
    at = len(body) if length is None else length
    for tensor in json.loads(body[:length])["outputs"]:
        if "data" in tensor:
            found[tensor["name"]] = tensor["data"]
            continue
        part = body[at : (at := at + tensor["parameters"]["binary_data_size"])]
        if tensor["datatype"] == "BYTES":
            found[tensor["name"]] = values = []
            while part:
                size = struct.unpack_from("<I", part)[0]
                values.append(part[4 : 4 + size].decode())
                part = part[4 + size :]
        else:
            found[tensor["name"]] = np.frombuffer(part, "<f8" if tensor["datatype"] == "FP64" else "<i8").tolist()
        assert len(found[tensor["name"]]) == tensor["shape"][0]
    assert at == len(body)
    return found


def test_metadata() -> None:
    told = json.loads(metadata(STARTER))
    assert (told["name"], told["versions"], told["platform"]) == ("starter", ["1"], "flightworthy")
    assert {t["name"]: t["datatype"] for t in told["inputs"]} == {
        "invoice": "BYTES", "issued": "BYTES", "customer_id": "BYTES", "amount": "FP64", "terms": "BYTES"}
    assert [t["name"] for t in told["outputs"]] == [
        "id", "action", "quantity", "score", "decision", "by", "path", "reasons", "model", "pilot", "problem"]
    assert all(t["shape"] == [-1] for t in told["inputs"] + told["outputs"])
    numbers = {t["name"]: t["datatype"] for t in json.loads(metadata(TURBOFAN))["inputs"]}
    assert (numbers["unit"], numbers["cycle"], numbers["s2"]) == ("INT64", "INT64", "FP64")
    assert json.loads(server_metadata())["extensions"] == ["binary_tensor_data"]
    assert json.loads(error("\ud800")) == {"error": "\ud800"}


def test_json_and_binary_are_the_same_events() -> None:
    spelled = ask(id="r1")
    assert (spelled.id, spelled.ids, spelled.binary) == ("r1", ["I1", "I2"], frozenset())
    assert [json.loads(raw) for raw in spelled.raws] == EVENTS
    for amount in [("FP64", np.array([120.5, 7.0])), ("FP32", np.array([120.5, 7], "<f4")), ("FP16", np.array([120.5, 7], "<f2"))]:
        assert read(STARTER, *binary(amount)).raws == spelled.raws
    column = spoken(amount={"shape": [2, 1], "data": [[120.5], [7]], "datatype": "FP32"})
    assert ask(column).raws == ask(list(reversed(column))).raws == spelled.raws
    body = json.dumps({"inputs": spoken()}).encode()
    assert read(STARTER, body, len(body)) == read(STARTER, body, None)
    wide = read(STARTER, *binary(("FP32", np.array([0.1, 7], "<f4")))).raws[0]
    assert json.loads(wide)["amount"] == float(np.float32(0.1)) and json.loads(ask(spoken(amount={
        "datatype": "FP32", "data": [85.65, 7]})).raws[0])["amount"] == 85.65


@pytest.mark.parametrize("datatype", ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"])
def test_every_whole_datatype(datatype: str) -> None:
    form = np.dtype(datatype.lower())
    low = max(int(np.iinfo(form).min), -(2**53))
    raws = read(STARTER, *binary((datatype, np.array([low, 100], form)))).raws
    assert [json.loads(raw)["amount"] for raw in raws] == [low, 100]
    assert json.loads(ask(spoken(amount={"datatype": datatype, "data": [low, 100]})).raws[0])["amount"] == low
    with pytest.raises(V2Error, match="beyond"):
        ask(spoken(amount={"datatype": datatype, "data": [int(np.iinfo(form).max) + 1, 0]}))


def test_whole_numbers_and_times_with_a_unit() -> None:
    names = TURBOFAN.manifest.events.fields

    def cycles(datatype: str, data: list[Any]) -> list[Any]:
        inputs = [{"name": name, "shape": [1], "datatype": "BYTES" if name == "reading" else "FP64",
                   "data": ["R1"] if name == "reading" else [3]} for name in names if name != "cycle"]
        asked = ask([*inputs, {"name": "cycle", "shape": [1], "datatype": datatype, "data": data}], TURBOFAN)
        event = Contract(TURBOFAN).read(asked.raws[0])
        return [event.cycle, event.unit]

    assert cycles("INT64", [12]) == cycles("FP32", [12.0]) == cycles("UINT8", [12]) == [12, 3]
    for datatype, data in (("FP64", [12.5]), ("FP64", [1e300]), ("UINT64", [2**63]), ("INT64", [True]), ("BYTES", ["12"])):
        with pytest.raises(V2Error, match="input 'cycle'"):
            cycles(datatype, data)


def test_null_is_an_absent_input_an_empty_text_or_nan() -> None:
    rows: dict[str, list[Any]] = {"transaction_id": ["T1", "T2"], "tx_time": ["2026-01-01T08:00:00", "2026-01-01T08:00:01"],
                                  "card_id": ["C", "C"], "terminal_id": ["A", "A"], "amount": [1.0, 2.0]}
    inputs = [{"name": name, "shape": [2], "datatype": "FP64" if name == "amount" else "BYTES", "data": data}
              for name, data in rows.items()]
    channel = {"name": "channel", "shape": [2], "datatype": "BYTES", "data": ["", "chip"]}
    assert [Contract(FRAUD).read(raw).channel for raw in ask(inputs, FRAUD).raws] == [None, None]
    assert [Contract(FRAUD).read(raw).channel for raw in ask([*inputs, channel], FRAUD).raws] == [None, "chip"]
    nan = read(STARTER, *binary(("FP64", np.array([math.nan, 1.0]))))
    assert [json.loads(raw)["amount"] for raw in nan.raws] == [None, 1.0]
    assert json.loads(ask(spoken(invoice={"data": ["", "I2"]})).raws[0])["invoice"] == ""  # not nullable: the contract's to judge


@pytest.mark.parametrize(("change", "message"), [
    ({"data": [1.0]}, "1 values"), ({"data": [[1.0], [2.0]]}, "not of datatype"), ({"data": [1.0, None]}, "not of datatype"),
    ({"data": [1.0, True]}, "not of datatype"), ({"data": ["1", "2"]}, "not of datatype"), ({"data": [1.0] * 3}, "3 values"),
    ({"shape": [2, 1], "data": [[1.0], 2.0]}, "not of datatype"), ({"shape": [2, 1], "data": [[1.0, 2.0]]}, "1 values"),
    ({"shape": [2, 2]}, "shape"), ({"shape": [0], "data": []}, "shape"), ({"shape": [-1]}, "shape"), ({"shape": []}, "shape"),
    ({"shape": [True]}, "Expected `int`"), ({"shape": [10**30]}, "at most 1000"), ({"shape": [1], "data": [1.0]}, "same number"),
    ({"datatype": "fp64"}, "unknown datatype"), ({"datatype": "BYTES", "data": ["1", "2"]}, "takes FP64"),
    ({"datatype": "BOOL", "data": [True, False]}, "takes FP64"), ({"datatype": "INT32", "data": [1.5, 1]}, "not of datatype"),
    ({"datatype": "FP16", "data": [1e6, 1]}, "beyond FP16"), ({"datatype": "INT64", "data": [2**53 + 1, 1]}, "not a double"),
    ({"name": "sum"}, "unknown input 'sum'"), ({"name": "invoice"}, "twice"), ({"data": None}, "either"),
    ({"parameters": {"binary_data_size": 0}}, "either"), ({"parameters": {"shared_memory_region": "x"}}, "shared memory"),
    ({"data": None, "parameters": {"binary_data_size": -1}}, "whole number"),
    ({"data": None, "parameters": {"binary_data_size": False}}, "whole number"),
    ({"data": None, "parameters": {"binary_data_size": 16}}, "0 bytes are left")])
def test_refused_tensors(change: dict[str, Any], message: str) -> None:
    with pytest.raises(V2Error, match=message):
        ask(spoken(amount=change))


@pytest.mark.parametrize(("body", "message"), [
    (b"", "0 bytes"), (b"[]", "Expected `object`"), (b'{"inputs": []}', "missing"), (b'{"inputs": [NaN]}', "malformed"),
    (b'{"inputs": [], "inputs": []}', "twice"), (b'{"inputs": [], "x": ' + b"[" * 100_000, "recursion"),
    (b'{"inputs": [], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion"), (b'{"inputs": [], "x": "\xff"}', "UTF-8"),
    (b'{"inputs": [], "\\ud800": 1}', "inference request"), (b'{"inputs": []} ', "missing"), (b'{"inputs": []}x', "trailing"),
    (b'{"inputs": [{"name": "amount", "shape": [1], "datatype": "FP64", "data": [1e999]}]}', "out of range")])
def test_refused_bodies(body: bytes, message: str) -> None:
    with pytest.raises(V2Error, match=message) as refused:
        read(STARTER, body, None)
    assert refused.value.status == 400 and len(refused.value.message) < 1200


def test_refused_binary_parts() -> None:
    body, length = binary()
    for wrong, end, message in ((body[:-1], length, "left"), (body + b"\0", length, "after the data"), (body, 0, "is 0"),
                                (body, -1, "is -1"), (body, len(body) + 1, "bytes"), (body, None, "malformed|trailing"),
                                (body.replace(b"I1", b"\xff1", 1), length, "UTF-8"),
                                (body.replace(texts(["I2"]), texts(["I"]) + b"2"), length, "'invoice': 1 bytes after its last"),
                                (body.replace(texts(["I2"]), b"\xff\xff\xff\xffI2"), length, "end before")):
        with pytest.raises(V2Error, match=message):
            read(STARTER, wrong, end)
    for amount, message in ((("FP64", np.array([math.inf, 1])), "infinite"), (("FP32", np.array([1.0, 2.0])), "need 8")):
        with pytest.raises(V2Error, match=message):
            read(STARTER, *binary(amount))
    with pytest.raises(V2Error) as many:
        ask(spoken(amount={"shape": [1001], "data": [1.0] * 1001}))
    assert many.value.status == 413
def test_truth_values(tmp_path: Path) -> None:
    manifest = (PILOTS / "starter" / "pilot.yaml").read_text()
    (tmp_path / "pilot.yaml").write_text(manifest.replace("    invoice: {type: text}", "    urgent: {type: boolean}\n    invoice: {type: text}"))
    pilot = load(tmp_path)
    assert json.loads(metadata(pilot))["inputs"][0] == {"name": "urgent", "datatype": "BOOL", "shape": [-1]}
    tensor = {"name": "urgent", "shape": [2], "datatype": "BOOL"}
    told = ask([*spoken(), {**tensor, "data": [True, False]}], pilot)
    head = json.dumps({"inputs": [*spoken(), {**tensor, "parameters": {"binary_data_size": 2}}]}).encode()
    assert read(pilot, head + b"\1\0", len(head)) == told
    assert [json.loads(raw)["urgent"] for raw in told.raws] == [True, False]
    for wrong in ({"data": [1, 0]}, {"data": ["true", "false"]}, {"datatype": "UINT8", "data": [1, 0]}):
        with pytest.raises(V2Error, match="urgent"):
            ask([*spoken(), {**tensor, **wrong}], pilot)
    with pytest.raises(V2Error, match="0 or 1"):
        read(pilot, head + b"\1\2", len(head))


def test_wanted_outputs() -> None:
    assert ask(outputs=[]).outputs == ask().outputs == tuple(t["name"] for t in json.loads(metadata(STARTER))["outputs"])
    assert ask(parameters={"binary_data_output": True}).binary == set(ask().outputs)
    some = ask(parameters={"binary_data_output": True, "priority": 3}, outputs=[
        {"name": "score"}, {"name": "action", "parameters": {"binary_data": False}}])
    assert (some.outputs, some.binary) == (("score", "action"), frozenset({"score"}))
    for wanted, parameters, message in (([{"name": "arm"}], {}, "unknown"), ([{"name": "id"}, {"name": "id"}], {}, "twice"),
                                        ([], {"binary_data_output": 1}, "true or false"),
                                        ([{"name": "id", "parameters": {"binary_data": "yes"}}], {}, "true or false"),
                                        ([{"name": "id", "parameters": {"classification": 2}}], {}, "classification")):
        with pytest.raises(V2Error, match=message):
            ask(outputs=wanted, parameters=parameters)


def test_answers_in_json_and_binary() -> None:
    said = write(STARTER, ask(id="r1"), [DECIDED, DECIDED])
    head = json.loads(said[0])
    assert said[1] is None and (head["id"], head["model_name"], head["model_version"]) == ("r1", "starter", "1")
    wanted = {"id": ["I1"] * 2, "action": ["remind"] * 2, "quantity": [12.5] * 2, "score": [0.25] * 2, "decision": [7] * 2,
              "by": ["model"] * 2, "path": ["champion"] * 2, "reasons": ['[{"code":"amount","say":"High","weight":0.5}]'] * 2,
              "model": ["ab"] * 2, "pilot": ["cd"] * 2, "problem": [""] * 2}
    everything = ask(parameters={"binary_data_output": True})
    assert outputs(said) == outputs(write(STARTER, everything, [DECIDED, DECIDED])) == wanted
    mixed = outputs(write(STARTER, everything, [DECIDED, NOTHING]))
    assert mixed["id"] == ["I1", "I2"] and mixed["decision"] == [7, -1] and mixed["action"] == ["remind", ""]
    assert math.isnan(mixed["quantity"][1]) and mixed["score"][0] == 0.25 and math.isnan(mixed["score"][1])
    assert json.loads(mixed["problem"][1])["detail"] == "too small" and json.loads(mixed["reasons"][1]) == []


def test_json_leaves_out_numbers_some_row_has_none_for() -> None:
    body, length = write(STARTER, ask(), [NOTHING, DECIDED])
    assert length is None and json.loads(body)["parameters"] == {"left_out": "quantity, score"} and b"null" not in body
    assert set(ask().outputs) - set(outputs((body, None))) == {"quantity", "score"}
    waiting = msgspec.structs.replace(DECIDED, decision=None, model=None, quantity=None, outputs={"score": math.inf})
    told = outputs(write(STARTER, ask(), [waiting, DECIDED]))
    assert (told["decision"], told["model"]) == ([-1, 7], ["", "ab"]) and "score" not in told and "quantity" not in told


def test_nothing_but_problems() -> None:
    with pytest.raises(V2Error, match="not accepted: amount: too small") as refused:
        write(STARTER, ask(), [NOTHING, NOTHING])
    assert refused.value.status == 400
    with pytest.raises(ValueError, match="argument"):
        write(STARTER, ask(), [DECIDED])  # an answer too few is our mistake, never the caller's


def test_the_engine_decides_what_was_read(starter_trained: Trained, open_engine: Callable[..., Engine]) -> None:
    lines = starter_trained.lines("live", 30)
    events = [json.loads(line) for line in lines]
    inputs = [{"name": name, "shape": [len(events)], "datatype": "FP64" if name == "amount" else "BYTES",
               "data": [event[name] for event in events]} for name in ROWS]
    asked = ask(inputs, starter_trained.pilot, parameters={"binary_data_output": True})
    contract = Contract(starter_trained.pilot)
    assert [contract.read(raw) for raw in asked.raws] == [contract.read(line) for line in lines]
    results = [answer(result, starter_trained.pilot.outputs) for result in open_engine().decide(asked.raws)]
    answers = [found for found in results if not isinstance(found, Noted)]
    told = outputs(write(starter_trained.pilot, asked, answers))
    assert told["id"] == [event["invoice"] for event in events] and told["problem"] == [""] * 30
    assert told["decision"] == [found.decision for found in answers if isinstance(found, Answer)]
    assert {step for path in told["path"] for step in path.split(" > ")} <= {"champion", "baseline", "holdout"}


@settings(max_examples=600)
@given(st.data())
def test_mutated_bodies_are_read_or_refused(data: st.DataObject) -> None:
    """Whatever the bytes, `read` gives complete events or a `V2Error`."""
    whole, length = binary(data.draw(st.sampled_from([("FP64", np.array([1.5, 2])), ("FP16", np.array([1, 2], "<f2")),
                                                      ("UINT64", np.array([1, 2], "<u8"))])), id="r", outputs=[{"name": "id"}])
    body = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 6))] = data.draw(st.one_of(
            st.binary(max_size=6), st.sampled_from([b"null", b"true", b"-1", b"1e999", b"NaN", b'""', b"[[", b"\\ud800", b"\xff" * 4])))
    end = data.draw(st.sampled_from([length, length, length + len(body) - len(whole), None, 0, len(body)]))
    try:
        asked = read(STARTER, bytes(body), end)
    except V2Error as refused:
        assert refused.status in (400, 413) and json.loads(error(refused.message))["error"] == refused.message != ""
        return
    assert len(asked.raws) == len(asked.ids) > 0 and set(asked.binary) <= set(asked.outputs)
    assert all(json.loads(raw).keys() == ROWS.keys() for raw in asked.raws)


@given(st.lists(st.tuples(st.text(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=20))
def test_values_travel_unchanged(pairs: list[tuple[str, float]]) -> None:
    names, amounts = zip(*pairs, strict=True)
    parts = [texts(names), np.array(amounts).tobytes(), *[texts(["x"] * len(pairs))] * 3]
    head = json.dumps({"inputs": [
        {"name": name, "shape": [len(pairs)], "datatype": "FP64" if name == "amount" else "BYTES", "parameters": {"binary_data_size": len(part)}}
        for name, part in zip(("invoice", "amount", "issued", "customer_id", "terms"), parts, strict=True)]}).encode()
    asked = read(STARTER, head + b"".join(parts), len(head))
    assert [(row["invoice"], row["amount"]) for row in map(json.loads, asked.raws)] == pairs and asked.ids == list(names)
    answers = [msgspec.structs.replace(DECIDED, id=name, quantity=amount) for name, amount in pairs]
    for binary_data in (True, False):
        told = outputs(write(STARTER, Asked(
            None, asked.raws, asked.ids, ("id", "quantity"), frozenset(("id", "quantity") if binary_data else ())), answers))
        assert told == {"id": list(names), "quantity": list(amounts)}
