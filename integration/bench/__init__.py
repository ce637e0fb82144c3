"""Owns measuring the sink from real Kafka to a local table: records/s, CPU, memory, with a hash that makes a fast wrong answer visible. Not correctness in depth."""
