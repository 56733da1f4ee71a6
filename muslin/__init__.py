"""The front door: the public Python API, the command line and the pytest plugin."""
