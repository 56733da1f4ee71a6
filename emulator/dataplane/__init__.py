"""Dataplanes: what makes a kernel be a node program."""
