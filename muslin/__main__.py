"""`python -m muslin` is `muslin`."""

from muslin.cli import main

main()
