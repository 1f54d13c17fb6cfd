"""Sphinx's settings; ``make docs`` builds the pages, every warning an error."""

import holdfast

project = "holdfast"
author = "the holdfast developers"
version = release = holdfast.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "holdfast"
html_show_copyright = False
