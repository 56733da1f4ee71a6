"""Properties: what must hold of every cluster, and the edits and histories that show it."""
