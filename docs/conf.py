"""Settings of the docs site. Build it with `sphinx-build -W docs docs/_build/html`.

No notebook is run. The pages load nothing from other hosts.
"""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx

import toolkit.load_test.generator.user  # noqa: F401  # patches the process with gevent, so before other modules

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import docstrings  # noqa: E402
import generated  # noqa: E402

project = "sms-code-toolkit"
release = metadata.version(project)
copyright = "the authors of sms-code-toolkit"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_heading_anchors = 4
nb_execution_mode = "off"  # the stored outputs are shown

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("Call", "Evidence", "Figures", "IntoCalls", "Journey", "Row", "Step")}
napoleon_use_ivar = True
smartquotes = False  # they would turn --rate into a dash and a word


def copy_notebooks(*_: object) -> None:
    """Copy the notebooks into the source folder: Sphinx reads nothing outside of it."""
    shutil.rmtree(HERE / "notebooks", ignore_errors=True)
    (HERE / "notebooks").mkdir()
    for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, HERE / "notebooks")


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Generate the parts of a page."""
    if not page.startswith("notebooks/"):
        source[0] = generated.fill(source[0])


def setup(app: Sphinx) -> None:
    """Connect the generators with Sphinx."""
    app.connect("config-inited", copy_notebooks)
    app.connect("source-read", fill)
    app.connect("autodoc-process-signature", docstrings.shorten)
    app.connect("autodoc-process-docstring", docstrings.process, priority=100)  # before napoleon
