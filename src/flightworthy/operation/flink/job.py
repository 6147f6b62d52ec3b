"""The job: topics in, the operator, topics out; and how it comes to a cluster."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from flightworthy.decision.rooms import check_split
from flightworthy.ground import registry
from flightworthy.ground.errors import AdapterError, DataError
from flightworthy.manifest.load import load
from flightworthy.operation.flink.address import Cluster
from flightworthy.operation.flink.parcel import pack
from flightworthy.operation.flink.part import DEAD, DECIDED, ENTRY, ENTRY_HEADERS
from flightworthy.operation.worker.messages import LETTER

_IN = """CREATE TABLE {name} (v BYTES, t TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
p INT METADATA FROM 'partition' VIRTUAL, o BIGINT METADATA FROM 'offset' VIRTUAL,
WATERMARK FOR t AS t - INTERVAL '0.001' SECOND) WITH ({options})"""
_OUT = "CREATE TABLE {name} (k BYTES, v BYTES, h MAP<STRING, BYTES> METADATA FROM 'headers') WITH ({options})"
_READ = {"format": "raw", "scan.startup.mode": "earliest-offset"}
_WRITE = {"key.format": "raw", "key.fields": "k", "value.format": "raw", "value.fields-include": "EXCEPT_KEY",
          "sink.delivery-guarantee": "at-least-once"}


def submit(path: Path, base: Path, urls: dict[str, str], engine: str, bounded: bool = False,
           history_until: int = -(2**62)) -> str:
    """Have a pilot decided by Flink; ``urls`` of events, outcomes, decisions, dead_letters, entries: empty where there is none.

    On a cluster: returns what the job is called there, when it was taken on. Without one, and where it is ``bounded`` (it ends
    with what the topics hold now): returns when it ended. Raises `AdapterError`, `DataError`, `ModelError`.
    """
    cluster = _whole(Cluster.of(engine), base)
    _installed(engine)
    from flightworthy.operation.flink.operator import OUT, Decide, Plan

    pilot = load(path)
    parcel = pack(path, base)
    outs = [(name, what) for name, what in (("decisions", DECIDED), ("dead_letters", DEAD), ("entries", ENTRY)) if urls.get(name)]
    if not outs:
        raise DataError("what is decided must go somewhere", expected="--decisions, --dead-letters or --entries", found="none")
    tables = {name: registry.find("connectors", urls[name])(urls[name]) for name in ("events", "outcomes", *dict(outs))
              if urls.get(name)}
    parts = _parts(tables)
    check_split(pilot, parts)
    idle = 0 if bounded else cluster.milliseconds("idle")  # what ends says so itself
    environment, sql = _environment(cluster, idle)
    query = []
    for kind, name in enumerate(("events", "outcomes")):
        if name in tables:
            more = _READ | {"properties.group.id": f"{pilot.name}-flink",
                            "scan.bounded.mode": "latest-offset" if bounded else "unbounded"}
            sql.execute_sql(_IN.format(name=name, options=_options(tables[name][0] | more)))
            query.append(f"SELECT {kind} AS kind, p, o, DECODE(v, 'ISO-8859-1') AS v, t FROM {name}")  # noqa: S608 - our names
    plan = Plan(parcel, parts, (tables["events"][0]["topic"], tables["outcomes"][0]["topic"] if "outcomes" in tables else ""),
                history_until, "entries" in tables, cluster.milliseconds("keep"), idle)
    records = sql.to_data_stream(sql.sql_query(" UNION ALL ".join(query)))
    decided = records.key_by(_partition, key_type=_number()).process(Decide(plan), output_type=OUT).uid("decide").name("decide")
    sql.create_temporary_view("decided", sql.from_data_stream(decided))
    statements = sql.create_statement_set()
    for name, what in outs:
        sql.execute_sql(_OUT.format(name=name, options=_options(tables[name][0] | _WRITE)))
        statements.add_insert_sql(
            f"INSERT INTO {name} SELECT ENCODE(k, 'ISO-8859-1'), ENCODE(v, 'ISO-8859-1'), "  # noqa: S608 - our names
            f"{_headers(what)} FROM decided WHERE what = {what}")
    statements.attach_as_datastream()
    return _executed(environment, f"flightworthy {pilot.name}", wait=bounded or not cluster.host)


def _whole(cluster: Cluster, base: Path) -> Cluster:
    """With a place for checkpoints: a cluster cannot know ours."""
    if cluster.checkpoints:
        return cluster
    if cluster.host:
        raise AdapterError("a cluster keeps its checkpoints where all of it can read them", found="no checkpoints",
                           expected="?checkpoints=file:///shared/folder, or s3://…")
    return replace(cluster, checkpoints=(base / "flink").absolute().as_uri())


def _headers(what: int) -> str:
    if what == DECIDED:
        return "CAST(NULL AS MAP<STRING, BYTES>)"
    names = LETTER if what == DEAD else ENTRY_HEADERS
    return "MAP[" + ", ".join(f"'{name}', ENCODE(h[{i}], 'ISO-8859-1')" for i, name in enumerate(names, 1)) + "]"


def _number() -> Any:
    from pyflink.common import Types

    return Types.INT()


def _partition(record: Any) -> int:
    return record[1]  # type: ignore[no-any-return]


def _parts(tables: dict[str, tuple[dict[str, str], int]]) -> int:
    parts: int = tables["events"][1]
    if "outcomes" in tables and tables["outcomes"][1] != parts:
        raise AdapterError("events and outcomes need as many partitions: both are shared out by the same key",
                           where=tables["outcomes"][0]["topic"], found=tables["outcomes"][1],
                           expected=f"{parts}, as the events have")
    return parts


def _options(of: dict[str, str]) -> str:
    return ", ".join(f"'{_text(name)}' = '{_text(value)}'" for name, value in of.items())


def _text(value: str) -> str:
    return value.replace("'", "''")


def _environment(cluster: Cluster, idle: int) -> tuple[Any, Any]:
    from pyflink.common import Configuration
    from pyflink.datastream import StreamExecutionEnvironment
    from pyflink.java_gateway import get_gateway
    from pyflink.table import StreamTableEnvironment

    settings = Configuration()
    for name, value in _settings(cluster).items():
        settings.set_string(name, value)
    if cluster.host:  # what PyFlink makes of settings alone is always a local one
        of_java = get_gateway().jvm.org.apache.flink.streaming.api.environment.StreamExecutionEnvironment
        environment = StreamExecutionEnvironment(of_java(settings._j_configuration))
    else:
        environment = StreamExecutionEnvironment.get_execution_environment(settings)
    sql = StreamTableEnvironment.create(environment)
    sql.get_config().set("table.exec.source.idle-timeout", f"{idle} ms")
    return environment, sql


def _settings(cluster: Cluster) -> dict[str, str]:
    """Of the job, in Flink's words."""
    out = {"python.execution-mode": "thread", "python.executable": cluster.python or sys.executable,
           "python.client.executable": sys.executable,
           "parallelism.default": str(cluster.parallelism),
           "execution.checkpointing.interval": f"{cluster.milliseconds('every')} ms",
           "state.backend.type": cluster.backend, "restart-strategy.type": "exponential-delay",
           "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION"}
    if cluster.backend == "rocksdb":
        out["execution.checkpointing.incremental"] = "true"
    if cluster.checkpoints:
        out["execution.checkpointing.dir"] = cluster.checkpoints
    if cluster.host:
        out |= {"execution.target": "remote", "rest.address": cluster.host, "rest.port": str(cluster.port)}
    if jars := _jars(cluster):
        out["pipeline.jars"] = ";".join(jar.absolute().as_uri() for jar in jars)
    return out


def _jars(cluster: Cluster) -> list[Path]:
    """What travels with the job: the connector, and, to a cluster, what runs Python there."""
    import pyflink

    found = sorted(Path(cluster.jars).glob("*.jar")) if cluster.jars else []
    if cluster.jars and not found:
        raise AdapterError("there is no connector", found=cluster.jars, expected="a folder with flink-sql-connector-kafka-….jar")
    return found + (sorted(Path(pyflink.__path__[0]).glob("opt/flink-python-*.jar")) if cluster.host else [])


def _executed(environment: Any, name: str, wait: bool) -> str:
    from py4j.protocol import Py4JError

    try:
        client = environment.execute_async(name)
        told = str(client.get_job_id())
        if wait:
            client.get_job_execution_result().result()
        return told
    except Py4JError as error:
        raise AdapterError("Flink did not take the job on, or it failed", found=_cause(str(error)),
                           next_step="see the logs of the job manager") from error


def _cause(text: str) -> str:
    """The innermost reason in a trace of Java."""
    causes = [line.strip() for line in text.splitlines() if line.strip().startswith("Caused by:")]
    return (causes[-1] if causes else text.strip().splitlines()[0])[:500]


def _installed(url: str) -> None:
    try:
        import pyflink  # noqa: F401
    except ImportError:
        raise registry.missing_extra("apache-flink", "flink", url) from None
