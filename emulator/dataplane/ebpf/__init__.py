"""The eBPF dataplane: TC programs on workload interfaces, policy as data in maps."""
