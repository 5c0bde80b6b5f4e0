"""Widgets that ipywidgets lacks: chart, text field, download button, panel and style sheet."""
