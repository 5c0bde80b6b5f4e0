"""The tables of this package as pictures, one function a table. Places and colours only, no statistics."""

from toolkit.analysis.charts.drawing import WIDTH
from toolkit.analysis.charts.files import to_svg
from toolkit.analysis.charts.latencies import latency
from toolkit.analysis.charts.outcomes import over_time, return_codes

__all__ = ["WIDTH", "latency", "over_time", "return_codes", "to_svg"]
