"""Display an object in a notebook as the widget that it is made of."""

from __future__ import annotations

from typing import Any


class Displayed:
    """An object that a notebook displays as its ``widget``, and as its repr where no kernel can show widgets."""

    widget: Any

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options) | {"text/plain": repr(self)}
