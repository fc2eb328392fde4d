"""The limits are measured with the real libraries, here in small."""

from pathlib import Path

from benchmarks import limits


def test_a_commit_takes_time(tmp_path: Path) -> None:
    assert limits.commit_ms(tmp_path, commits=5) > 0


def test_interleaved_records_go_round_all_flows_before_the_next_number() -> None:
    commits = limits.interleaved(flows=3, rounds=2, value=b"v", key_bytes=20)

    keys = [key for records in commits for key, _ in records]
    assert [len(records) for records in commits] == [3, 3]
    assert len(set(keys)) == 6
    assert {len(key) for key in keys} == {20}
    assert [key[:16] for key in keys[:3]] == [key[:16] for key in keys[3:]]


def test_each_write_to_a_file_is_timed_and_nothing_stays_behind(tmp_path: Path) -> None:
    seconds = limits.write_seconds(tmp_path, writes=4, write_bytes=180)

    assert len(seconds) == 4
    assert min(seconds) > 0
    assert list(tmp_path.iterdir()) == []


def test_each_commit_is_timed(tmp_path: Path) -> None:
    commits = limits.interleaved(flows=2, rounds=3, value=b"v")

    seconds = limits.commit_seconds(tmp_path, commits, fsync=False)

    assert len(seconds) == 3
    assert min(seconds) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_round_trip_goes_through_another_process() -> None:
    assert limits.round_trip_ms(rounds=20, warm_up=1) > 0


def test_messages_under_way_at_once_all_come_back() -> None:
    assert limits.messages_per_second(at_once=50, messages=200) > 0
    assert limits.messages_per_second(at_once=50, messages=10) > 0
