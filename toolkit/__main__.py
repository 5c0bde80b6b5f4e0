"""``python -m toolkit`` is ``smscode``."""

from toolkit.cli import main

main()
