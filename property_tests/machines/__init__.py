"""Stateful machines: random sequences of commands, with what must hold after each."""
