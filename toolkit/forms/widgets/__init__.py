"""Widgets that ipywidgets lacks: chart, text field, download button, HTML panel and style sheet."""
