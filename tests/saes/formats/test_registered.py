"""How many of the dictionaries that the package sae-lens lists our loaders open; the README's table is made here."""

import re
from itertools import groupby

import pytest

from tests.conftest import ROOT

pytest.importorskip("sae_lens", exc_type=ImportError)

from tests.saes.formats.registered import FILES, files_of, refusal, registered, table, the_list

README = ROOT / "src" / "sae_match" / "saes" / "formats" / "README.md"


def test_every_listed_dictionary_is_counted():
    assert len(registered()) == sum(len(about["saes"]) for about in the_list().values())
    assert {one.loader for one in registered()} == {*FILES}


def test_nearly_all_are_openable_and_the_rest_is_refused_for_a_reason():
    refused = [one for one in registered() if one.format is None]
    assert len(refused) <= 0.05 * len(registered())
    assert all(refusal(one) is not None for one in refused)
    assert all(refusal(one) is None for one in registered() if one.format is not None)


def test_a_release_is_openable_as_a_whole_or_not_at_all():
    for release, those in groupby(registered(), key=lambda one: one.release):
        assert len({one.format for one in those}) == 1, release


def test_what_is_openable_is_opened_by_its_own_files():
    """The path that the list gives is the one that our loader reads."""
    for one in registered():
        if one.format is not None:
            assert FILES[one.loader][0].format(one.path) in files_of(one), one


def test_the_readmes_table_is_what_is_counted():
    text = README.read_text(encoding="utf-8")
    told = re.search(r"<!-- counted -->\n(.*)<!-- /counted -->", text, re.DOTALL)
    assert told is not None
    assert told[1].strip() == table()
