"""Owns judging a table without any code of the sink or of a Delta library: its log, its Parquet files, and what an Apache consumer read from the topic."""
