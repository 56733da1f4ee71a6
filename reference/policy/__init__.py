"""The oracle: interprets the user's resources packet by packet, in the plainest code. It never meets `reference.program`."""
