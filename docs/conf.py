"""Settings of the documentation: `sphinx-build -W -n -b html docs build/docs`."""

import inspect
import logging as notices
import os
import re
import sys
from pathlib import Path

from docutils.nodes import Element, SkipNode, document
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parents[1]

project = "d2ir_pl"
extensions = ["myst_nb", "sphinx_copybutton", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = project
html_logo = html_favicon = "static/logo.svg"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#9a4a00", "color-brand-content": "#9a4a00"},
    "dark_css_variables": {"color-brand-primary": "#ffb454", "color-brand-content": "#ffb454"},
}
html_static_path = ["static"]
html_css_files = ["docs.css"]
html_copy_source = False
html_show_copyright = False
html_math_renderer = "mathml"

# Docstrings: names in single backticks are code; types that have no entry are no links.
sys.path.insert(0, str(ROOT))
default_role = "code"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}  # those with a docstring of their own
autodoc_inherit_docstrings = False
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|nn|numpy|PIL|os|pathlib|collections|datetime|typing)\..*"),
    (r"py:.*", r"Console|Path|Tensor|FastUNet|UNetModel|timedelta"),
    (r"py:.*", r"(.*\.)?(KernelEvidence|LightsFound|ResultFolder|Schedule|Photo|Stored|UNetFlags)"),
    (r"py:.*", r"(.*\.)?(Image|Input|Prior|Terminated|Usage)Error"),
]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# Notebooks are run by every build that reads them, and an error in one is an error of the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 300  # seconds a cell, on a busy machine
nb_merge_streams = True
notices.getLogger("traitlets").setLevel(notices.WARNING)  # `-q` is heard by it too
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # for `d2ir`

PAGES = {
    "README.md": "readme",
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "SECURITY.md": "security",
    "examples/README.md": "examples",
    "d2ir_pl/weights/README.md": "model_card",
}
"""Markdown files outside this folder, and the pages that include them."""


def link_to_pages(app: Sphinx, page: document) -> None:
    """Links to the files of PAGES, which are right where Markdown is read as it is."""
    targets = {str((ROOT / file).with_suffix("")): name for file, name in PAGES.items()}
    for link in page.findall(pending_xref):
        link["reftarget"] = targets.get(link["reftarget"], link["reftarget"])


# Formulas as MathML, which browsers draw themselves: no script, no network, no LaTeX.
def mathml(node: Element, as_block: bool) -> str:
    """A formula as MathML; one that cannot be read is shown as it is, with a warning."""
    try:
        return str(tex2mathml(node.astext(), as_block=as_block))
    except MathError as error:
        logger.warning("%s", error, location=node)
        return node.astext()


def inline_math(translator: HTML5Translator, node: Element) -> None:
    """Write a formula in a line."""
    translator.body.append(mathml(node, as_block=False))
    raise SkipNode


def display_math(translator: HTML5Translator, node: Element) -> None:
    """Write a formula of its own line."""
    translator.body.append(f'<div class="math">{mathml(node, as_block=True)}</div>')
    raise SkipNode


def keep_bars(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """The bars of |x| in a docstring are those of a formula, not of a substitution."""
    for i, line in enumerate(lines):
        if not line.startswith("    "):  # a block of formulas is literal
            parts = re.split(r"(`+[^`]*`+)", line)
            lines[i] = "".join(p if p.startswith("`") else p.replace("|", r"\|") for p in parts)


def leave_aliases(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: Element
) -> Element | None:
    """The name of an alias, such as that of a Literal, is no link: it has no entry of its own."""
    name = node["reftarget"].rpartition(".")[2]
    modules = [module for path, module in sys.modules.items() if path.startswith("d2ir_pl.")]
    found = [getattr(module, name) for module in modules if hasattr(module, name)]
    return text if found and not any(map(inspect.isclass, found)) else None


def signature_of_class(
    app: Sphinx, what: str, name: str, obj: object, options: object, shown: str, returned: str
) -> tuple[str, str] | None:
    """A class that keeps its arguments in `__new__` is made with those of its `__init__`."""
    if shown != "(*args, **kwargs)" or not inspect.isclass(obj):
        return None
    signature = inspect.signature(obj)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty)), returned


def forget_overloads(app: Sphinx) -> None:
    """Show `restore` with the signature that has all its arguments, not with those for types."""
    analyzer = ModuleAnalyzer.for_module("d2ir_pl.api.function")
    analyzer.analyze()
    analyzer.overloads.clear()


def setup(app: Sphinx) -> None:
    """Add what this file defines to Sphinx."""
    app.connect("builder-inited", forget_overloads)
    app.connect("missing-reference", leave_aliases)
    app.connect("autodoc-process-signature", signature_of_class)
    app.connect("autodoc-process-docstring", keep_bars, priority=600)
    app.connect("doctree-read", link_to_pages)
    app.add_html_math_renderer("mathml", (inline_math, None), (display_math, None))
