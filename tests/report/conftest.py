"""Of every picture that a test of this folder saves, no text may be too small for a README."""

import pytest

from sae_match.report.picture import Picture
from tests.report.readme import small_texts


@pytest.fixture(autouse=True)
def _as_a_readme_shows_it(monkeypatch):
    save = Picture.save

    def checked(picture, folder):
        # Before it is saved: what is too small is enlarged then, and was not given its room.
        assert small_texts(picture.figure) == []
        return save(picture, folder)

    monkeypatch.setattr(Picture, "save", checked)
