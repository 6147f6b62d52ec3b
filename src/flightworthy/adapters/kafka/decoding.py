"""From the bytes of a message to a record, where a registry keeps the schemas."""

from __future__ import annotations

from collections.abc import Callable

from flightworthy.adapters.kafka.address import Address
from flightworthy.ground.errors import AdapterError
from flightworthy.integration.contract import Raw

Decode = Callable[[bytes], Raw]


def decoder(address: Address) -> Decode | None:
    """None where a message is the record itself. What cannot be decoded is handed on as it is: the contract says so, and
    quarantine keeps its bytes. A registry that does not answer stops reading, and nothing is lost."""
    if address.format == "json":
        return None
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.schema_registry.error import SchemaRegistryError
    from confluent_kafka.schema_registry.json_schema import JSONDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError

    client = SchemaRegistryClient({"url": address.registry})
    read = AvroDeserializer(client) if address.format == "avro" else JSONDeserializer(None, schema_registry_client=client)
    context = SerializationContext(address.topic, MessageField.VALUE)

    def decode(raw: bytes) -> Raw:
        try:
            found = read(raw, context)
        except SchemaRegistryError as error:
            if error.http_status_code != 404:
                raise AdapterError(f"the schema registry fails: {error}", where=address.registry, next_step="start again when it "
                                   "answers: records are read on from where the ledger is") from error
            return raw
        except (SerializationError, ValueError, TypeError, KeyError, IndexError, EOFError):
            return raw
        return found if isinstance(found, dict) else raw

    return decode
