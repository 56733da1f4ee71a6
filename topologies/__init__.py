"""Fabrics: nodes, hosts, switches and routers as Mininet builds them."""
