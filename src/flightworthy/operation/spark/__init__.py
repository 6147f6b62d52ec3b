"""Backfill of features in Apache Spark."""
