"""Forms: the toolkit in a notebook and on the console's page. A form is displayed like any value."""

from toolkit.forms.call import CallForm
from toolkit.forms.limits import LimitsForm
from toolkit.forms.load import LoadForm
from toolkit.forms.picker import RunPicker
from toolkit.forms.sandbox import Sandbox
from toolkit.forms.view import ReportView

__all__ = ["CallForm", "LimitsForm", "LoadForm", "ReportView", "RunPicker", "Sandbox"]
