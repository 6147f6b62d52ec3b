"""Start Apache Kafka, PostgreSQL and Redis for a try, print their URLs, and stop them on Ctrl-C or SIGTERM.

Usage: python -m services [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from services.kafka import Kafka, kafka_libs
from services.postgres import Postgres, postgres_programs
from services.redis import Redis, redis_program

KAFKA, POSTGRES, REDIS = 19092, 15432, 16379  # as in compose.yaml


def main() -> None:
    """What is installed is started."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--folder", type=Path, help="where they keep their data (default: a new one, removed at the end)")
    given = args.parse_args()
    with ExitStack() as stack:
        folder = given.folder or Path(tempfile.mkdtemp(prefix="flightworthy-services-"))
        if given.folder is None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, _end)
        try:
            start(stack, folder)
            print("stop with Ctrl-C", flush=True)
            signal.pause()
        except KeyboardInterrupt:
            pass


def start(stack: ExitStack, folder: Path) -> None:
    """All of them; each says where it is."""
    if kafka_libs() is not None:
        kafka = Kafka(folder / "kafka", port=KAFKA)
        stack.callback(kafka.stop)
        print(f"kafka       kafka://127.0.0.1:{kafka.port}/TOPIC", flush=True)
    if postgres_programs() is not None:
        if (folder / "postgres").exists():
            shutil.rmtree(folder / "postgres")  # a ledger to try things on
        postgres = Postgres(folder / "postgres", port=POSTGRES)
        stack.callback(postgres.stop)
        print(f"postgresql  postgresql://flightworthy@127.0.0.1:{postgres.port}/postgres?schema=NAME  with "
              f"PGPASSWORD={postgres.password}", flush=True)
    if redis_program() is not None:
        redis = Redis(folder / "redis", port=REDIS)
        stack.callback(redis.stop)
        print(f"redis       redis://127.0.0.1:{redis.port}/0", flush=True)


def _end(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
