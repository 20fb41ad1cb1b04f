from sae_match.text.packing import of_like_length, packed

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


def test_documents_of_like_length_are_in_one_batch():
    lengths = [9, 2, 8, 3, 9, 1, 8]
    found = [of_like_length([[0] * length for length in lengths], 2, seed) for seed in range(20)]
    assert all(sorted(batches) == [[0, 6], [1, 5], [2, 3], [4]] for batches in found)
    assert found[3] == of_like_length([[0] * length for length in lengths], 2, 3)


def test_whichever_batches_are_read_first_their_documents_are_of_any_length():
    rows = [[0] * length for length in range(1, 401)]
    first = [sum(len(rows[row]) for row in of_like_length(rows, 4, seed)[0]) / 4 for seed in range(400)]
    assert 180 < sum(first) / len(first) < 221


def test_rows_of_one_length_stay_in_their_order():
    assert of_like_length([[0] * 5] * 7, 3, 0) == [[0, 1, 2], [3, 4, 5], [6]]
