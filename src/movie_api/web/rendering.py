"""HTML pages, rendered by Litestar from the Jinja2 templates in `templates/`."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Template
from litestar.template import TemplateConfig

_TEMPLATES = Path(__file__).parent / "templates"


def template_config(*, base_path: str = "", app_url: str = "/") -> TemplateConfig[JinjaTemplateEngine]:
    """The configuration of Litestar's template engine: values are escaped, and an undefined one is an error.

    `base_path` is the path of the public URL, with which the links of every page begin. `app_url` is where account
    pages send users next.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.globals |= {"base_path": base_path, "app_url": base_path + app_url if app_url[0] == "/" else app_url}
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment))


def html_page(template_name: str, policy: str, *, status_code: int = 200, **context: Any) -> Template:
    """A response with an HTML page; `policy` is its Content-Security-Policy, `context` has the template's variables."""
    return Template(
        template_name,
        context=context,
        status_code=status_code,
        media_type=MediaType.HTML,
        headers={"content-security-policy": policy, "referrer-policy": "no-referrer"},
    )
