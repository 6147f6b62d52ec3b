"""Lays out a model repository for NVIDIA Triton and becomes its server (the one inside the package of PyTriton)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from scorer import arguments

CONFIG = """
name: "score"
backend: "python"
max_batch_size: 64
input [{ name: "x" data_type: TYPE_FP64 dims: [27] }]
output [{ name: "score" data_type: TYPE_FP64 dims: [1] }]
dynamic_batching { max_queue_delay_microseconds: 0 }
instance_group [{ kind: KIND_CPU count: 1 }]
"""


def main() -> None:
    """Never returns: the process becomes tritonserver."""
    folder, port = arguments()
    found = importlib.util.find_spec("pytriton")
    assert found is not None and found.origin is not None
    package = Path(found.origin).parent / "tritonserver"
    work = Path(tempfile.mkdtemp(prefix="triton-", dir=os.environ["BENCH_WORK"]))
    version = work / "models" / "score" / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(CONFIG)
    here = Path(__file__).parent
    shutil.copy(here / "triton_model.py", version / "model.py")
    backend = work / "backends" / "python"
    shutil.copytree(package / "backends" / "python", backend)
    name = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(package / "python_backend_stubs" / name / "triton_python_backend_stub", backend)
    site = sysconfig.get_paths()["purelib"]
    libraries = [str(package.parent.parent / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR"))]
    environ = {**os.environ, "BENCH_FOLDER": folder, "BENCH_PATH": os.pathsep.join((str(here), site)),
               "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    os.execve(package / "bin" / "tritonserver", [  # noqa: S606 - fixed arguments; this process becomes the server
        "tritonserver", "--model-repository", str(work / "models"), "--backend-directory", str(work / "backends"),
        "--http-address", "127.0.0.1", "--http-port", str(port), "--allow-grpc", "false", "--allow-metrics", "false",
        "--http-thread-count", "2", "--log-warning", "true", "--log-info", "false"], environ)


if __name__ == "__main__":
    main()
