"""The documentation site: Sphinx with MyST. `make docs` builds it in docs/_build/html.

Notebooks are shown with the outputs that docs/run_notebooks.py stored; a build runs none of them. The recipe's keys and
the commands' options are read from the installed program (docs/_ext), the Python reference from its docstrings.
"""

import sys
from pathlib import Path

import fpforce

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "fpforce"
author = "the fpforce developers"
copyright = "the fpforce developers, MIT licence"
release = version = fpforce.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx-mathjax-offline",
    "recipe_table",
    "command_reference",
    "house_docstrings",
]
exclude_patterns = ["_build", "results"]  # docs/results holds tables and figures, which the pages take in

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_merge_streams = True

# Warnings are errors: every reference has to lead somewhere.
nitpicky = False
default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
maximum_signature_line_length = 80
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "fpforce"
html_static_path = ["_static"]
html_css_files = ["fpforce.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"sidebar_hide_name": False, "navigation_with_keys": True}
copybutton_prompt_text = "$ "


def setup(app):
    """After the extensions, one of which sets a path of its own."""
    app.config.mathjax_path = "mathjax/tex-svg.js"  # glyphs as outlines: no fonts to load
