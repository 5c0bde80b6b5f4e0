"""Forms for notebooks and for the console page, made of ipywidgets. Display a form as the last value of a cell."""

from toolkit.forms.call_form import CallForm
from toolkit.forms.calls_view import ReportView
from toolkit.forms.capacity_form import CapacityForm
from toolkit.forms.limits_form import LimitsForm
from toolkit.forms.load_form import LoadForm
from toolkit.forms.overview import Overview
from toolkit.forms.parts.shared_sandbox import Sandbox
from toolkit.forms.probe_form import ProbeForm
from toolkit.forms.run_picker import RunPicker
from toolkit.forms.what_if_form import WhatIfForm

__all__ = [
    "CallForm",
    "CapacityForm",
    "LimitsForm",
    "LoadForm",
    "Overview",
    "ProbeForm",
    "ReportView",
    "RunPicker",
    "Sandbox",
    "WhatIfForm",
]
