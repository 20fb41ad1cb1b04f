from sae_match.text.articles import join_articles

STORED = ["", " = First = \n", "", " One .\n", " = = Section = = \n", "", " Another .\n", "", " = 2nd = \n", ""]


def test_titles_open_articles_and_sections_do_not():
    first, second = join_articles(STORED)
    assert first == "\n = First = \n\n One .\n = = Section = = \n\n Another .\n\n"
    assert second == " = 2nd = \n\n"
    assert first + second == "".join(line or "\n" for line in STORED)


def test_a_line_that_looks_like_a_title_within_a_paragraph_opens_nothing():
    assert list(join_articles([" = A = \n", " x\n", " = y = \n"])) == [" = A = \n x\n = y = \n"]


def test_a_title_may_hold_an_equals_sign():
    assert len(list(join_articles([" = A = \n", "", " = E = mc2 = \n", "", " text"]))) == 2


def test_blank_lines_are_no_article():
    assert list(join_articles(["", " \n", ""])) == []
