"""Results as data, and their renderings: terminal, JUnit, JSON, HTML."""
