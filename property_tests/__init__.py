"""Hypothesis strategies, properties and campaigns."""
