"""What a validation of the bundled model is run with, made once a module."""

import pytest

from tests.evaluation.validating import fitting_text, text_of


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(bundled_model):
    return text_of(bundled_model[1])


@pytest.fixture(scope="module")
def fitting(bundled_model, data):
    return fitting_text(bundled_model[1], data)
