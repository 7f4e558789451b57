"""Some rounds of the soak, see soak.py; ``make soak`` runs it for an hour."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import soak as long_training

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")


def test_some_rounds_count_links_exactly_and_keep_to_the_twin(tmp_path):
    rounds = len(long_training.METHODS)
    report = long_training.soak(0, tmp_path, least_rounds=rounds)
    assert report["rounds"] == report["runs"] == rounds
    assert report["steps"] > 60 * rounds
    assert report["link_counts_checked"] > 2 * 60 * rounds
    assert max(report["largest_difference_first_half"], report["largest_difference_second_half"]) <= long_training.DRIFT
    assert {path.name for path in tmp_path.iterdir()} == {"long.safetensors", "long.1.safetensors", "run"}


@pytest.mark.slow
def test_memory_is_flat_over_some_minutes(tmp_path):
    assert long_training.passes(long_training.soak(240, tmp_path))
