"""The same features, model and policy in PyFlink: a keyed process function with value state, in thread mode, on a local cluster.

Usage: flink_peer.py BROKER TOPIC OUT MODEL GROUP JARS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pyflink.common import Configuration, SimpleStringSchema, Types, WatermarkStrategy
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.connectors.base import DeliveryGuarantee
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaRecordSerializationSchema,
    KafkaSink,
    KafkaSource,
)
from pyflink.datastream.state import ValueStateDescriptor

broker, topic, out, model, group, jars = sys.argv[1:]
HERE = str(Path(__file__).parent)


class Decide(KeyedProcessFunction):
    """One card."""

    def open(self, context: RuntimeContext) -> None:
        import lightgbm

        self.past = context.get_state(ValueStateDescriptor("past", Types.PICKLED_BYTE_ARRAY()))
        self.booster = lightgbm.Booster(model_file=model)

    def process_element(self, value: str, context: Any) -> Any:
        import numpy as np
        from windows import action, inputs

        event = json.loads(value)
        past = self.past.value() or []
        x = inputs(event, past)
        self.past.update(past)
        score = float(self.booster.predict(np.array([x]), num_threads=1)[0])
        yield json.dumps({"id": event["transaction_id"], "action": action(score), "score": score})


settings = Configuration()
settings.set_string("python.execution-mode", "thread")
settings.set_string("pipeline.jars", ";".join(f"file://{jar}" for jar in sorted(Path(jars).glob("*.jar"))))
env = StreamExecutionEnvironment.get_execution_environment(settings)
env.set_parallelism(1)
env.enable_checkpointing(5000)
env.add_python_file(f"{HERE}/windows.py")
source = (KafkaSource.builder().set_bootstrap_servers(broker).set_topics(topic).set_group_id(group)
          .set_starting_offsets(KafkaOffsetsInitializer.earliest()).set_value_only_deserializer(SimpleStringSchema()).build())
sink = (KafkaSink.builder().set_bootstrap_servers(broker)
        .set_record_serializer(KafkaRecordSerializationSchema.builder().set_topic(out)
                               .set_value_serialization_schema(SimpleStringSchema()).build())
        .set_delivery_guarantee(DeliveryGuarantee.AT_LEAST_ONCE).build())
stream = env.from_source(source, WatermarkStrategy.no_watermarks(), "events")
stream.key_by(lambda value: json.loads(value)["card_id"], key_type=Types.LONG()).process(
    Decide(), output_type=Types.STRING()).sink_to(sink)
env.execute("peer")
