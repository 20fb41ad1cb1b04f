import pytest

from tests.training.words import as_text, random_documents, small_stream


@pytest.fixture
def text(tmp_path):
    return as_text(tmp_path, words=random_documents(150, 13))


@pytest.fixture(scope="module")
def stream():
    return small_stream()
