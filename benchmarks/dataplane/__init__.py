"""What a dataplane costs: packets against the same pods without policy, changes against the bare kernel work."""
