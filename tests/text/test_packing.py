from sae_match.text.packing import packed

BOS = 0


def test_documents_fill_rows_and_one_that_is_cut_goes_on_behind_bos():
    documents = [[BOS, 1, 2], [BOS, 3, 4, 5, 6], [BOS, 7, 8]]
    assert list(packed(documents, 4)) == [[BOS, 1, 2, BOS], [BOS, 3, 4, 5], [BOS, 6, BOS, 7]]


def test_documents_of_the_rows_length_are_rows():
    documents = [[BOS, 1, 2], [BOS, 3, 4]]
    assert list(packed(documents, 3)) == documents


def test_what_does_not_fill_a_row_is_dropped():
    assert list(packed([[BOS, 1], [BOS]], 4)) == []


def test_no_more_documents_are_asked_for_than_a_row_needs():
    documents = iter([[BOS, 1, 2], [BOS, 3, 4], [BOS, 5, 6]])
    assert next(packed(documents, 3)) == [BOS, 1, 2]
    assert next(documents) == [BOS, 3, 4]
