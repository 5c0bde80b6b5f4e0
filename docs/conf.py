"""Settings of the docs site. Build it with `sphinx-build -W docs docs/_build/html`.

No notebook is run. The pages load nothing from other hosts.
"""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent

project = "sms-code-toolkit"
release = metadata.version(project)
copyright = "the authors of sms-code-toolkit"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False

myst_heading_anchors = 4
nb_execution_mode = "off"  # the stored outputs are shown


def copy_notebooks(*_: object) -> None:
    """Copy the notebooks into the source folder: Sphinx reads nothing outside of it."""
    shutil.rmtree(HERE / "notebooks", ignore_errors=True)
    (HERE / "notebooks").mkdir()
    for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, HERE / "notebooks")


def setup(app: Sphinx) -> None:
    """Generate pages before Sphinx lists them."""
    app.connect("config-inited", copy_notebooks)
