"""MLServer with a runtime of our own and adaptive batching; the model lives in the server's process (no parallel workers)."""

from __future__ import annotations

import os

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from scorer import Scorer


class Scores(MLModel):
    """One tensor of inputs in, one of scores out."""

    async def load(self) -> bool:
        self.scorer = Scorer(os.environ["BENCH_FOLDER"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        scores = self.scorer.rows(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(id=payload.id, model_name=self.name, outputs=[NumpyCodec.encode_output("score", scores)])
