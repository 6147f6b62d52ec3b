"""The kernels without compilation: slower, to the same bits."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import math, sys
import numpy as np
from flightworthy.integration.features.plan import compile_groups
from flightworthy.integration.features.state import FeatureState, Rows
from flightworthy.integration.batch import Frames
from flightworthy.manifest.load import load
from pathlib import Path
import flightworthy
pilot = load(Path(flightworthy.__file__).parent / "pilots" / "fraud")
rng = np.random.default_rng(5)
n = 1500
kinds = (rng.random(n) < 0.2).astype(np.int64); kinds[0] = 0
times = np.cumsum(rng.integers(-3_600_000_000, 9_000_000_000, n))
refer = np.array([i if k == 0 else int(rng.choice(np.flatnonzero(kinds[: i] == 0))) for i, k in enumerate(kinds)])
keys = rng.integers(0, 9, n)
rows = Rows(kinds, times[refer], refer, np.where(kinds == 1, 1.0, 0.0), {"amount": rng.integers(1, 99999, n)[refer].astype(float)},
            {"card_id": keys[refer], "terminal_id": (keys[refer] * 7) % 5})
state = FeatureState(compile_groups(pilot))
found = state.apply(rows)[kinds == 0]
numbers = {"amount": rows.fields["amount"][kinds == 0] / 100, "tx_time": rows.times[kinds == 0].astype(float)}
from flightworthy.manifest.pilot import event_scope
numbers = np.column_stack([numbers.get(name, np.zeros(len(found))) for name in event_scope(pilot.manifest)])
import hashlib
sys.stdout.write(hashlib.sha256(Frames(pilot).build(numbers, found).tobytes()).hexdigest() + state.digest())
"""


@pytest.mark.slow
def test_compiled_and_plain_give_equal_bits() -> None:
    told = [subprocess.run([sys.executable, "-W", "ignore", "-c", CODE], env={**os.environ, "NUMBA_DISABLE_JIT": flag},
                           capture_output=True, text=True, check=True).stdout for flag in ("0", "1")]
    assert len(told[0]) == 128
    assert told[0] == told[1]
