"""Forty rows through weeks of nights: images moved to the shop, two new keys, a service that forgets; forty POSTs."""

import pytest
import weeks

JOBS = weeks.JOBS
DAY_S = weeks.DAY_S


@pytest.mark.slow
def test_forty_rows_are_paid_once_whatever_the_weeks_bring(tmp_path, monkeypatch):
    """The nightly job and the weekly retry as they are shipped; every night ends with 0 and `plan` is true each time."""
    life = weeks.Life(tmp_path, 0, monkeypatch.setattr)
    try:
        life.rows.clear()
        for _ in range(40):
            life.add_a_row()
        assert life.command("run", JOBS / "nightly.yaml") == 0
        assert life.accepted() == 40
        life.move_images()
        for day in range(1, 15):
            life.offset_s = day * DAY_S
            if day == 3:
                life.rotate_the_key()
            if day == 9:  # records, files and history are gone
                life.api.settings(record_lifetime_s=0, output_lifetime_s=0, history_lag_s=1e9)
                life.rotate_the_key()
            assert life.plan(JOBS / "nightly.yaml") == 0
            assert life.command("run", JOBS / "nightly.yaml") == 0, life.said
            if day % 7 == 0:
                assert life.command("run", JOBS / "retry.yaml") == 0, life.said
            assert {row["status"] for row in life._report()} == {"saved"}
        assert life.accepted() == 40

        life.api.settings(record_lifetime_s=3600, output_lifetime_s=7 * DAY_S)
        life.add_a_row()
        assert life.plan(JOBS / "nightly.yaml") == 1
        assert life.command("run", JOBS / "nightly.yaml") == 2
        assert "--same-account" in life.said
        assert life.accepted() == 40
        assert life.command("run", JOBS / "nightly.yaml", "--same-account") == 0, life.said
        assert life.accepted() == 41
        assert life.command("run", JOBS / "nightly.yaml") == 0, life.said
        assert life.accepted() == 41
    finally:
        life.close()
