"""The oracle: interprets the user's resources, packet by packet, plainly. It never meets `reference.program`."""
