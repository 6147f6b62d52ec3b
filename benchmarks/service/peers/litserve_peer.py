"""LitServe with its batching: whatever waits, up to 64 events, goes to the model as one batch.

Its default queue between processes: the one over ZeroMQ was no faster on one core.
"""

# Annotations stay objects here: LitServe reads that of `decode_request` to know what to parse.
from typing import Any

import litserve
from fastapi import Request
from scorer import Scorer, arguments


class Api(litserve.LitAPI):
    """Events in, scores out."""

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(**options)
        self.folder = folder

    def setup(self, device: str) -> None:
        self.scorer = Scorer(self.folder)

    def decode_request(self, request: Request) -> Any:
        return request  # by now the parsed JSON; the annotation says that nothing is to be validated

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, inputs: list[dict[str, Any]]) -> list[float]:
        return self.scorer.events(inputs)

    def unbatch(self, output: list[float]) -> list[float]:
        return output

    def encode_response(self, output: float) -> dict[str, Any]:
        return {"score": output}


if __name__ == "__main__":
    folder, port = arguments()
    api = Api(folder, max_batch_size=64, batch_timeout=0.001, api_path="/score")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=30)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False, log_level="warning", access_log=False)
