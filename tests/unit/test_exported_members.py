"""The public face: what `__all__` says is there, sorted, and nothing is hidden behind it."""

import batch


def test_all_is_sorted_and_complete():
    assert batch.__all__ == sorted(batch.__all__)
    assert set(batch.__all__) == set(batch._HOMES)


def test_every_name_is_there_and_says_where_it_lives():
    for name in batch.__all__:
        member = getattr(batch, name)
        assert member.__name__ == name
        assert member.__module__ == f"batch.{batch._HOMES[name]}"
