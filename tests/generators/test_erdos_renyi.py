import itertools

import numpy as np
import pytest
from scipy import stats
from test_sampling import FALSE_ALARM, assert_all_equally_likely

from sparsecore.generators import ER


def test_every_set_of_links_is_equally_likely():
    draws = (tuple(sorted(ER()((3, 3), 3, seed).link_ids.tolist())) for seed in range(5_000))
    assert_all_equally_likely(draws, itertools.combinations(range(9), 3))


@pytest.mark.parametrize("side", ["out_degrees", "in_degrees"])
def test_degrees_are_hypergeometric(side):
    degrees = np.concatenate([getattr(ER()((200, 50), 3_000, seed), side) for seed in range(40)])
    law = stats.hypergeom(200 * 50, 50 if side == "out_degrees" else 200, 3_000)
    low, high = law.ppf(0.02), law.ppf(0.98)
    edges = np.arange(low, high + 1)
    seen = np.array([(degrees < low).sum(), *[(degrees == k).sum() for k in edges], (degrees > high).sum()])
    expected = np.array([law.cdf(low - 1), *law.pmf(edges), law.sf(high)]) * degrees.size
    # Degrees of one layer add up to a constant, which makes them a little more even than independent ones.
    assert stats.chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > FALSE_ALARM


def test_other_seeds_give_other_links():
    assert len({ER()((100, 100), 100, seed).digest for seed in range(20)}) == 20
