"""The line as an operator of Apache Flink: keyed by partition, with Flink's state, checkpoints and connectors."""
