"""What does happen: a cluster made of Linux namespaces, its dataplanes, its probes and its supervisor."""
