"""Scenarios as data: schema, loader, runner, and the collection."""
