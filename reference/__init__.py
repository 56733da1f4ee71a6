"""What should happen: resources, events, state, the policy oracle and the node programs.

Pure and deterministic: time, randomness and I/O come in as arguments. `reference.log` is the one module that
touches a file. Nothing here may import Linux, sockets, processes, threads or the clock (import-linter checks it).
"""
