"""Triton's python backend: every request that waits, up to 64 rows, is scored in one call."""

from __future__ import annotations

import os
import sys
from typing import Any

# The backend's interpreter is an isolated one and ignores PYTHONPATH.
sys.path[:0] = os.environ["BENCH_PATH"].split(os.pathsep)

import numpy as np  # noqa: E402
import triton_python_backend_utils as triton  # type: ignore[import-not-found]  # noqa: E402
from scorer import Scorer  # noqa: E402


class TritonPythonModel:
    """One tensor of inputs in, one of scores out."""

    def initialize(self, args: dict[str, str]) -> None:
        self.scorer = Scorer(os.environ["BENCH_FOLDER"])

    def execute(self, requests: list[Any]) -> list[Any]:
        parts = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        scores = self.scorer.rows(np.concatenate(parts))
        answers, at = [], 0
        for part in parts:
            score = np.ascontiguousarray(scores[at:at + len(part), None])
            answers.append(triton.InferenceResponse([triton.Tensor("score", score)]))
            at += len(part)
        return answers
