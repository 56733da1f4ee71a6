"""Probes: real packets sent, and the evidence of what became of them."""
