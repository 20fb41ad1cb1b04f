import pytest

from sae_match.benchmark.browser import executable, running_browser
from sae_match.errors import UserError
from sae_match.report.explorer import writing
from tests.report.explorer.made_up import explorer_data
from tests.report.explorer.reader import SIZES, show, watched


@pytest.fixture(scope="package")
def report(tmp_path_factory):
    """A page whose paths are spread over several chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_FEATURES_OF_CHUNK", 6)
        return writing.write_explorer(explorer_data(), tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="package")
def browser():
    try:
        executable()
    except UserError as error:
        pytest.fail(str(error))
    with running_browser() as running:
        yield running


@pytest.fixture(params=SIZES)
def size(request):
    return request.param


@pytest.fixture
def tab(browser, report):
    with watched(browser) as tab:
        yield show(tab, report)
