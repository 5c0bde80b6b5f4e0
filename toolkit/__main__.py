"""Run the command line: ``python -m toolkit`` is the same as ``smscode``."""

from toolkit.cli import main

main()
