"""Import Altair, for the first time in this process, without 0.9 s of CPU for grammars that it does not need.

Altair imports jsonschema. Where Jupyter is installed, jsonschema imports rfc3987_syntax, which compiles 39 grammars for
addresses with characters beyond ASCII. None of Vega-Lite's formats needs them.
"""

import sys

_GRAMMARS = "rfc3987_syntax"

if _GRAMMARS not in sys.modules:
    sys.modules[_GRAMMARS] = None  # type: ignore[assignment]  # Python's own way to make an import fail
    try:
        import altair  # noqa: F401
    finally:
        del sys.modules[_GRAMMARS]
