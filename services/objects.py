"""A real object store that speaks S3 (SeaweedFS) on private ports and in a folder of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from services.processes import Process, answers, free_port

KEY, SECRET, BUCKET = "tests", "only-for-tests", "snapshots"


class Objects:
    """A server with one bucket, and one who may do everything."""

    def __init__(self, folder: Path) -> None:
        program = Path(sys.executable).with_name("weed")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        access = folder / "access.json"
        access.write_text(json.dumps({"identities": [{"name": KEY, "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
                                                      "actions": ["Admin", "Read", "Write", "List"]}]}))
        ports = [f"-{name}.port{kind}={free_port()}" for name in ("master", "volume", "filer") for kind in ("", ".grpc")]
        self._process = Process(
            [str(program), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-volume.max=8",
             "-master.volumeSizeLimitMB=64", "-s3", f"-s3.port={self.port}", f"-s3.port.grpc={free_port()}",
             f"-s3.config={access}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket", *ports], folder / "log")
        if not answers(self.port, 30):
            raise RuntimeError(f"the object store does not answer; see {folder}/log")

    def url(self, prefix: str = "") -> str:
        """For a manifest."""
        return f"s3://{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{self.port}&region=us-east-1"

    def kill(self) -> None:
        """As if its machine had gone."""
        self._process.kill()

    def stop(self) -> None:
        """In order."""
        self._process.stop()
