"""`dynmm flow` commands that are wrong end with 2 before anybody waits for a broker, and those that run once wait for none."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog

from dynmm_core.cli import main

NOWHERE = ("--bootstrap", "127.0.0.1:1")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["flow", *arguments])
    structlog.reset_defaults()
    assert stopped.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_topics_ends_where_no_broker_answers(capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    said = refused(capsys, "topics", *NOWHERE)
    assert "127.0.0.1:1: the broker could not be reached" in said and "--bootstrap" in said
    assert time.monotonic() - begun < 25


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*NOWHERE, "--partitions", "0"), "--partitions: 0 is too small; give 1 or more"),
        ((*NOWHERE, "--replication", "0"), "--replication: 0 is too small; give 1 or more"),
        (("--bootstrap", "localhost"), "kafka.bootstrap: 'localhost' is no broker's address; write host:port"),
    ],
)
def test_topics_checks_its_options_before_it_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.setattr("flows.kafka.topics.open_admin", lambda settings: pytest.fail("the broker was asked"))
    assert told in refused(capsys, "topics", *arguments)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--device", "tpu", "device: 'tpu' is no device; use cpu or cuda"),
        ("--seed", "-4", "seed: Input should be greater than or equal to 0; it was -4"),
        ("--history", "foo", "history: Input should be 'event' or 'version'; it was 'foo'"),
        ("--store-every", "0", "store_every: Input should be greater than or equal to 1; it was 0"),
    ],
)
def test_options_of_the_learner_are_checked_before_anybody_waits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str, value: str, told: str
) -> None:
    monkeypatch.setattr("flows.live.run.run_live", lambda *_: pytest.fail("the flow was begun"))
    monkeypatch.setattr("dynmm_core.model.bundle.Bundle.load", lambda path: SimpleNamespace(hash="b"))
    for kind in ("summarize", "adapt"):
        where = ("--bundle", str(tmp_path), "--out", str(tmp_path / "out"))
        assert told in refused(capsys, "run", kind, *NOWHERE, *where, option, value)


def test_a_device_that_is_not_there_is_told_before_anybody_waits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("flows.live.run.run_live", lambda *_: pytest.fail("the flow was begun"))
    monkeypatch.setattr("dynmm_core.model.bundle.Bundle.load", lambda path: SimpleNamespace(hash="b"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    where = ("--bundle", str(tmp_path), "--out", str(tmp_path / "out"))
    assert "--device: cuda is not there; use cpu" in refused(capsys, "run", "adapt", *NOWHERE, *where, "--device", "cuda")
