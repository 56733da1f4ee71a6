"""Block-based address management as pure decisions that become events (semantics 2g)."""
