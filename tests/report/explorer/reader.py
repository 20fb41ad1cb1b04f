"""What a reader does with the explorer in a browser."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.report.explorer.made_up import (
    DEAD,
    SHIFTS,
    WIDTHS,
    active,
    cosine,
    partner,
)

SIZES = {"wide": (1440, 900), "narrow": (375, 812)}
DASH = "\N{EN DASH}"


@contextmanager
def watched(browser, size="wide", **options) -> Iterator:
    """A new tab; afterwards nothing may have gone wrong in it, nor anything but files have been asked for."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    tab = context.new_page()
    # Whatever else the machine does: what hangs fails all the same.
    tab.set_default_timeout(60_000)
    wrong = []
    tab.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else wrong.append(request.url))
    yield tab
    assert wrong == []
    context.close()


def show(tab, report, state="", unfolded=True):
    """The page, by default with its filters unfolded."""
    tab.goto("about:blank")
    tab.goto(report.as_uri() + state)
    tab.wait_for_selector("html[data-ready]")
    if unfolded:
        tab.locator("#filters").evaluate("of => { of.open = true; }")
    return tab


def table(tab, name):
    """Cells of a table's rows, as text."""
    return [row.locator("th, td").all_text_contents() for row in tab.locator(f"#{name} tbody tr").all()]


def found(tab):
    """Names of the features in the list."""
    return tab.locator("#results .feature").all_text_contents()


def look_for(tab, text):
    tab.locator("#query").fill(text)
    tab.wait_for_selector(f"#results[data-query={json.dumps(text)}]", state="attached")
    return found(tab)


def wait_for_list(tab, names):
    """Until the list shows these."""
    for _ in range(100):
        if found(tab) == names:
            return
        tab.wait_for_timeout(20)
    assert found(tab) == names


def open_feature(tab, name):
    look_for(tab, name)
    tab.locator("#results li").first.click()
    tab.wait_for_selector(f'#path[data-shown="{name}"]')


def flow_expected(cut):
    """Live, carried on, appearing, carrying on, ending, never active, too few activations (none), layer by layer."""
    layers = list(WIDTHS)
    carried = {
        pair: sum(
            1
            for feature in range(WIDTHS[pair[0]])
            if (target := partner(*pair, feature)) >= 0
            and active(pair[0], feature)
            and active(pair[1], target)
            and cosine(feature) >= cut
        )
        for pair in SHIFTS
    }
    rows = []
    for layer, before, after in zip(layers, [None, *layers], [*layers[1:], None], strict=False):
        live = sum(1 for feature in range(WIDTHS[layer]) if (layer, feature) not in DEAD)
        into, out = carried.get((before, layer)), carried.get((layer, after))
        counts = [live, into, None if into is None else live - into, out, None if out is None else live - out]
        too_few = [None if into is None else 0, None if out is None else 0]
        counts += [WIDTHS[layer] - live, *too_few]
        rows.append([str(layer), *(DASH if count is None else str(count) for count in counts)])
    return rows


def data_of(folder):
    return folder / "report" / "data"
