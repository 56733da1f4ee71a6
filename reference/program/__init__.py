"""From state to node programs: the compiler's road to a verdict. It never meets `reference.policy`."""
