"""Apache Kafka, through librdkafka."""
