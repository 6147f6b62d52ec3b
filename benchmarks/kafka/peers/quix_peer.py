"""The same features, model and policy in Quix Streams, with its state store, as its documentation has it.

Usage: quix_peer.py BROKER TOPIC OUT MODEL GROUP FOLDER
"""

from __future__ import annotations

import os
import sys
from typing import Any

import lightgbm
import numpy as np
from quixstreams import Application, State
from windows import action, inputs

broker, topic, out, model, group, folder = sys.argv[1:]
booster = lightgbm.Booster(model_file=model)
os.chdir(folder)


def decide(event: dict[str, Any], state: State) -> dict[str, Any]:
    past = state.get("past", [])
    x = inputs(event, past)
    state.set("past", past)
    score = float(booster.predict(np.array([x]), num_threads=1)[0])
    return {"id": event["transaction_id"], "action": action(score), "score": score}


app = Application(broker_address=broker, consumer_group=group, auto_offset_reset="earliest", loglevel="WARNING")
frame = app.dataframe(app.topic(topic, value_deserializer="json"))
frame = frame.apply(decide, stateful=True)
frame = frame.to_topic(app.topic(out, value_serializer="json"))
app.run()
