"""Every single place of three recorded reports damaged in turn: what can be seen is seen.

tests/benchmarks/damage.py does it with all of them, and says what cannot be seen.
"""

from __future__ import annotations

import pytest

from tests.benchmarks.damage import ACCOUNTS, Sample, samples, verdicts

SAMPLES = {sample.name: sample for sample in samples()}
CHOSEN = ("1.2.0rc3-throughput-streaming", "1.2.0rc2-throughput-nonstreaming-mtp1", "serving-default")
MOST_UNSEEN = 0.02
"""Share of the mutations of one account in which a wrong number may pass because no identity holds it."""


@pytest.mark.parametrize("account", ["text", "JSON"])
@pytest.mark.parametrize("name", CHOSEN)
def test_no_damage_that_can_be_seen_passes(name: str, account: str) -> None:
    found = list(verdicts(SAMPLES[name], account, every=1 if account == "JSON" else 3))
    assert len(found) > 100
    assert [v for v in found if v.passes and v.group == "a"] == []


def test_little_passes_unseen() -> None:
    for account in ("text", "JSON"):
        found = list(verdicts(SAMPLES[CHOSEN[0]], account, every=2))
        assert sum(v.passes for v in found) <= MOST_UNSEEN * len(found)


def test_beside_a_sound_account_nothing_passes() -> None:
    for account in ("text beside JSON", "JSON beside text"):
        assert [v for v in verdicts(SAMPLES[CHOSEN[0]], account, every=10) if v.passes] == []


def test_every_report_is_sound_alone_and_together() -> None:
    """`verdicts` asserts it before it damages anything."""
    for sample in SAMPLES.values():
        for account in ACCOUNTS:
            assert list(verdicts(sample, account, every=10**9)) != [] or _has_not(sample, account)


def _has_not(sample: Sample, account: str) -> bool:
    return sample.json is None and account != "text"
