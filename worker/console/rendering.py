"""Rendering: templates, filled; and the part of a page that is fetched again while it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from worker.clock import now
from worker.console import wording
from worker.console.guard import FORM_TOKEN, address_of, visit_of
from worker.console.session import Keys

TEMPLATES: Final = Path(__file__).parent / "templates"
FRAGMENT: Final = "x-fragment"
"""The header with which a page's script asks for the live part alone."""


class Rendering:
    """Fills templates; every value is made inert and escaped, whatever the template says."""

    __slots__ = ("_environment", "_keys")

    def __init__(self, keys: Keys, namespace: str) -> None:
        self._keys = keys
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            finalize=wording.shown,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            away=lambda moment: wording.away(moment, now()),
            counted=wording.counted,
            fields=wording.fields,
            linked=wording.linked,
            number=wording.number,
            size=wording.size,
            span=lambda moment: wording.span((now() - moment).total_seconds()),
            stamp=wording.stamp,
        )
        # Not imported by the templates: a block that is filled alone would not have them.
        ui = self._environment.get_template("ui.html").module
        self._environment.globals.update(namespace=namespace, ui=ui)

    def page(
        self,
        request: Request,
        name: str,
        *,
        status: int = 200,
        live: bool = False,
        **values: Any,  # noqa: ANN401  # whatever the template wants
    ) -> Response:
        """Fill a page, or its block ``live`` if that is all that is asked for.

        Args:
            request: Who asks for what.
            name: The template.
            status: The status of the answer.
            live: Whether the page changes by itself and is fetched again while it is shown.
            values: What the template wants to know.
        """
        known = {**self._known(request), "is_live": live, **values}
        template = self._environment.get_template(name)
        if live and FRAGMENT in request.headers:
            context = template.new_context(known)
            return HTMLResponse("".join(template.blocks["live"](context)), status)
        return HTMLResponse(template.render(known), status)

    def _known(self, request: Request) -> dict[str, Any]:
        visit = visit_of(request)
        token = "" if visit.session is None else self._keys.form_token(visit.session)
        return {
            "who": visit.who,
            "form_field": FORM_TOKEN,
            "form_token": token,
            "path": request.scope["path"],
            "here": address_of(request),
        }
