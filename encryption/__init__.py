"""WireGuard between nodes: keys, peers and devices."""
