"""A real Chromium that pages are opened in."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sae_match.errors import UserError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

#: Environment variable that names the browser.
VARIABLE = "SAE_MATCH_CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")


def executable() -> str:
    """Where Chromium, or Chrome, is installed.

    Raises:
        UserError: If it is not.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise UserError(f"{VARIABLE}={named}: there is no such file")
        return named
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        raise UserError(
            f"no Chromium is installed (on Debian: apt-get install chromium); {VARIABLE}=FILE names another"
        )
    return found


@contextmanager
def running_browser() -> Iterator["Browser"]:
    """Chromium without a window, closed at the end.

    Raises:
        UserError: If it or the package that drives it is not installed.
    """
    file = executable()
    try:
        driver = import_module("playwright.sync_api")
    except ImportError as error:
        raise UserError('pages are driven by the package playwright: pip install -e ".[dev]"') from error
    with driver.sync_playwright() as running:
        browser = cast("Playwright", running).chromium.launch(executable_path=file)
        try:
            yield browser
        finally:
            browser.close()
