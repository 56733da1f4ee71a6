"""The selector language (semantics 2c): parse, canonical text, unique id, match."""
