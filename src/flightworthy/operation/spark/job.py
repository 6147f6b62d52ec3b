"""The job: files in, features out, spread over what Spark has."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

from flightworthy.decision.backfill import Backfilled
from flightworthy.ground.errors import AdapterError, DataError
from flightworthy.ground.registry import missing_extra
from flightworthy.manifest.load import load

_LINES = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")


def backfill(path: Path, data: Sequence[str], outcomes: str | None, to: str, engine: str) -> Backfilled:
    """Features of every event, as `flightworthy.operation.backfill` computes them, into a folder of Parquet files; what does not
    fit goes to a folder beside it. Paths and URLs are Spark's. Raises `AdapterError`, `DataError`."""
    file = path / "pilot.yaml" if path.is_dir() else path
    pilot = load(file)
    with _session(engine, f"flightworthy backfill {pilot.name}") as spark, _said(engine):
        return _Job(spark, pilot, file.read_text(encoding="utf-8")).run(data, outcomes, to)


class _Job:
    """In one session."""

    def __init__(self, spark: Any, pilot: Any, text: str) -> None:
        self._spark, self._pilot, self._text = spark, pilot, text

    def run(self, data: Sequence[str], outcomes: str | None, to: str) -> Backfilled:
        from pyspark.sql import functions as f

        from flightworthy.operation.spark import tasks

        admitted = reduce(lambda one, other: one.unionAll(other), [self._admitted(url) for url in data])
        admitted = self._numbered(admitted).persist()
        told = None if outcomes is None else self._numbered(
            self._lines(outcomes).mapInArrow(tasks.Tell(self._text), tasks.words(tasks.TOLD))).persist()
        kept = self._kept(admitted, told).persist()
        columns = ["origin", "id", "time", "label", "known", "body"]
        made = kept.select(*columns)
        effects = self._effects(kept)
        for number, key in enumerate(tasks.keys_of(tasks.line_of(self._text))):
            compute = tasks.Compute(self._text, key)
            together = effects.repartition(f.col("keys")[number]) if key else effects.coalesce(1)
            ordered = together.sortWithinPartitions("moment", f.desc("kind"), "time", "origin").drop("keys", "moment", "time")
            made = made.join(ordered.mapInArrow(compute, tasks.words(compute.schema())), "origin")
        derive = tasks.Derive(self._text)
        made.mapInArrow(derive, tasks.words(derive.schema())).write.mode("overwrite").parquet(to)
        return self._counted(admitted, told, kept, to)

    def _admitted(self, url: str) -> Any:
        from flightworthy.operation.spark import tasks

        lines = url.rstrip("/").endswith(_LINES)
        if not lines and not url.rstrip("/").endswith(".parquet"):
            raise DataError("Spark is given lines of JSON or Parquet", found=url, expected="….ndjson or ….parquet",
                            next_step="without --engine, .csv is read too")
        read = self._lines(url) if lines else self._spark.read.parquet(url)
        return read.mapInArrow(tasks.Admit(self._text, "arrow:lines" if lines else "arrow:table"), tasks.words(tasks.ADMITTED))

    def _lines(self, url: str) -> Any:
        from pyspark.sql import functions as f

        return self._spark.read.text(url).select(f.col("value").cast("binary"))

    def _numbered(self, rows: Any) -> Any:
        """Numbers across partitions, which stand in the order of the files."""
        from pyspark.sql import functions as f

        return rows.withColumn("origin", f.shiftleft(f.spark_partition_id().cast("bigint"), 40) + f.col("origin"))

    def _kept(self, admitted: Any, told: Any) -> Any:
        """The first event of each id, with the last that was told of it, and when that takes effect."""
        from pyspark.sql import Window
        from pyspark.sql import functions as f

        from flightworthy.integration.archive import UNKNOWN

        def first(rows: Any, order: Any) -> Any:
            place = f.row_number().over(Window.partitionBy("id").orderBy(order))
            return rows.where("reason IS NULL").withColumn("n", place).where("n = 1").drop("n", "reason", "refusal")

        kept = first(admitted, f.asc("origin"))
        if told is not None:
            late = first(told, f.desc("origin")).select("id", f.col("label").alias("l"), f.col("known").alias("k"))
            kept = kept.join(late, "id", "left").withColumns({
                "label": f.when(f.col("l").isNull(), f.col("label")).otherwise(f.col("l")),
                "known": f.when(f.col("l").isNull(), f.col("known")).otherwise(f.col("k"))}).drop("l", "k")
        delay = self._pilot.manifest.outcomes.delay
        known = f.when(f.col("known") == UNKNOWN, f.col("time") + f.lit(delay)).otherwise(f.greatest("known", "time"))
        return kept.withColumn("known", known)

    def _effects(self, kept: Any) -> Any:
        from pyspark.sql import functions as f

        from flightworthy.operation.spark import tasks

        rows = kept.select("origin", "time", "label", "body", "keys", "known")
        no_label = tasks.line_of(self._text).no_label
        says = rows.where(~f.isnan("label") & (f.col("label") != f.lit(no_label)))
        return rows.withColumns({"kind": f.lit(0).cast("bigint"), "moment": f.col("time")}).unionAll(
            says.withColumns({"kind": f.lit(1).cast("bigint"), "moment": f.col("known")})).drop("known")

    def _counted(self, admitted: Any, told: Any, kept: Any, to: str) -> Backfilled:
        made = Backfilled(self._spark.read.parquet(to).count(), self._effects(kept).where("kind = 1").count())
        refused = admitted.select("reason", "refusal")
        if told is not None:
            refused = refused.unionAll(told.select("reason", "refusal"))
        refused = refused.where("reason IS NOT NULL")
        for row in refused.groupBy("reason").count().collect():
            made.refuse(row["reason"], row["count"])
        refused.select("refusal").write.mode("overwrite").text(refused_beside(to))
        made.refuse("duplicate", admitted.where("reason IS NULL").count() - made.events)
        return made


def refused_beside(to: str) -> str:
    """Where records are kept that do not fit."""
    return f"{to.rstrip('/')}.refused"


@contextmanager
def _session(engine: str, name: str) -> Iterator[Any]:
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise missing_extra("pyspark", "spark", engine) from None
    master = _master(engine)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(master).appName(name).config("spark.sql.session.timeZone", "UTC").config(
        "spark.sql.execution.arrow.maxRecordsPerBatch", "8192")
    if master.startswith("local"):
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1").config(
            "spark.ui.enabled", "false")
    spark = builder.getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


def _master(engine: str) -> str:
    """What Spark calls it: ``spark`` is this machine, ``spark://host:7077`` a cluster of its own, ``spark:yarn`` another kind."""
    scheme, _, rest = engine.partition(":")
    if scheme != "spark":
        raise AdapterError("there is no such engine", found=engine, expected="spark, spark://host:7077, spark:yarn")
    return engine if rest.startswith("//") else rest or "local[*]"


@contextmanager
def _said(engine: str) -> Iterator[None]:
    from pyspark.errors import PySparkException

    try:
        yield
    except PySparkException as error:
        raise AdapterError("Spark could not do it", where=engine, found=_cause(str(error)),
                           next_step="see Spark's own log above") from error


def _cause(text: str) -> str:
    """Our own error in a worker's trace, or what Spark says first."""
    lines = text.strip().splitlines() or [""]
    ours = [line for line in lines if line.startswith("flightworthy.ground.errors.")]
    return (ours[-1].partition(": ")[2] if ours else lines[0])[:500]
