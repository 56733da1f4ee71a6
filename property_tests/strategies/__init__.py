"""Generators of resources, clusters and packets: one set for Hypothesis and for seeded campaigns."""
