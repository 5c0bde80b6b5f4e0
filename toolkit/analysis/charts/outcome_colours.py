"""Looks: the colour of each kind of outcome, by the name that pictures give it."""

from toolkit.analysis.charts import labels
from toolkit.analysis.colours import ERROR_COLOUR, KIND_COLOURS, UNKNOWN_COLOUR

KIND_LOOKS = {
    **{kind.value: colour for kind, colour in KIND_COLOURS.items()},
    labels.UNKNOWN: UNKNOWN_COLOUR,
    labels.NO_ANSWER: ERROR_COLOUR,
}
