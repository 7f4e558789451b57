import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sparsecore as sc
from sparsecore import schedules
from sparsecore.errors import ConfigError, UnknownNameError
from sparsecore.schedules import Constant, Cosine, Cubic, INoam, Linear, Noam, Odds, Schedule, Sigmoid, Steps, integral

RAMPS = (Linear, Cosine, Cubic, Sigmoid)
EXAMPLES = {
    "constant": {"value": 0.3},
    "linear": {"start": 1.0, "end": 3.0, "steps": 50},
    "cosine": {"start": 0.3, "end": 0.0, "steps": 50},
    "cubic": {"start": 0.5, "end": 0.1, "steps": 50},
    "sigmoid": {"start": 0.5, "end": 0.1, "steps": 50},
    "odds": {"start": 0.5, "end": 0.9, "steps": 50},
    "steps": {"values": (0.3, 0.2, 0.1), "boundaries": (10, 50)},
    "noam": {"d_model": 64, "warmup": 20},
    "inoam": {"d_model": 64, "warmup": 20, "every": 10, "rewarm": 4},
}
values = st.floats(-10, 10)
lengths = st.integers(1, 1_000)


def test_every_registered_schedule_has_an_example_here():
    assert set(EXAMPLES) == set(schedules.names())


@pytest.mark.parametrize("entry", tuple(schedules.registry), ids=lambda entry: entry.name)
class TestEveryRegisteredSchedule:
    def test_it_is_a_frozen_callable_with_a_source(self, entry):
        schedule = schedules.get(entry.name, **EXAMPLES[entry.name])
        assert isinstance(schedule, Schedule) and entry.paper and entry.equation
        with pytest.raises(dataclasses.FrozenInstanceError):
            schedule.anything = 1

    def test_it_returns_finite_floats_that_depend_on_the_step_alone(self, entry):
        schedule = schedules.get(entry.name, **EXAMPLES[entry.name])
        first = [schedule(step) for step in range(120)]
        assert all(type(value) is float and math.isfinite(value) for value in first)
        assert first == [schedule(np.int64(step)) for step in range(120)]

    @pytest.mark.parametrize("step", [-1, 0.5, "3", None, True])
    def test_it_refuses_steps_that_are_not_counts(self, entry, step):
        with pytest.raises(ConfigError, match="Expected step"):
            schedules.get(entry.name, **EXAMPLES[entry.name])(step)

    def test_it_refuses_every_option_that_is_not_a_finite_number(self, entry):
        for name, value in EXAMPLES[entry.name].items():
            for bad in (math.nan, math.inf, "1", None, True):
                worse = (bad, *value[1:]) if isinstance(value, tuple) else bad
                with pytest.raises(ConfigError, match=f"Expected {name}"):
                    schedules.get(entry.name, **{**EXAMPLES[entry.name], name: worse})

    def test_torch_takes_it_as_a_learning_rate_factor(self, entry):
        schedule = schedules.get(entry.name, **EXAMPLES[entry.name])
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        for step in range(3):
            assert scheduler.get_last_lr() == [2.0 * schedule(step)]
            optimizer.step()
            scheduler.step()


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"noam", "inoam"}))
def test_a_schedule_with_an_end_holds_its_last_value(name):
    schedule = schedules.get(name, **EXAMPLES[name])
    assert schedule(50) == schedule(51) == schedule(10**9)


@given(ramp=st.sampled_from(RAMPS), start=values, end=values, steps=lengths)
def test_ramps_start_and_end_exactly_where_they_are_told(ramp, start, end, steps):
    schedule = ramp(start, end, steps)
    assert schedule(0) == start
    assert schedule(steps) == end


@given(ramp=st.sampled_from(RAMPS), start=values, end=values, steps=lengths)
def test_ramps_go_one_way_only(ramp, start, end, steps):
    path = np.array([ramp(start, end, steps)(step) for step in range(0, steps + 2, max(steps // 50, 1))])
    assert np.all(np.diff(path) * np.sign(end - start) >= -1e-12)


@given(ramp=st.sampled_from(RAMPS), start=values, end=values, steps=lengths, step=st.integers(0, 2_000))
def test_ramps_follow_their_shape_whatever_the_ends(ramp, start, end, steps, step):
    shape = ramp(0.0, 1.0, steps)(step)
    assert ramp(start, end, steps)(step) == pytest.approx(start + (end - start) * shape, abs=1e-9)


@given(step=st.integers(0, 300), k=st.floats(0.01, 40))
def test_the_sigmoid_is_the_logistic_curve_over_half_the_duration_normalised(step, k):
    def logistic(t):
        return 1 / (1 + math.exp(-k * (t - 150) / 150))

    shape = (logistic(step) - logistic(0)) / (logistic(300) - logistic(0))
    assert Sigmoid(0.5, 0.1, steps=300, k=k)(step) == pytest.approx(0.5 - 0.4 * shape, abs=1e-9)


def test_a_very_steep_sigmoid_is_a_jump():
    jump = Sigmoid(0.5, 0.1, steps=100, k=1e6)
    assert (jump(49), jump(50), jump(51)) == pytest.approx((0.5, 0.3, 0.1))


def test_cosine_and_cubic_match_their_equations():
    for t in range(101):
        assert Cosine(0.3, 0.1, 100)(t) == pytest.approx(0.1 + 0.1 * (1 + math.cos(math.pi * t / 100)))
        assert Cubic(0.5, 0.1, 100)(t) == pytest.approx(0.1 + 0.4 * (1 - t / 100) ** 3)


def test_odds_run_from_temperature_one_to_nine():
    ramp = Odds(0.5, 0.9, steps=100)
    assert [ramp(0), ramp(50), ramp(100)] == pytest.approx([1.0, 0.7 / 0.3, 9.0])
    with pytest.raises(ConfigError, match=r"Expected end in \[0, 1\)"):
        Odds(0.5, 1.0, steps=100)


@given(boundaries=st.lists(st.integers(0, 100), unique=True, max_size=5).map(sorted), step=st.integers(0, 120))
def test_stairs_change_at_their_boundaries(boundaries, step):
    stairs = Steps(values=range(len(boundaries) + 1), boundaries=boundaries)
    assert stairs(step) == sum(step >= boundary for boundary in boundaries)


@pytest.mark.parametrize("boundaries", [(5, 5), (6, 5), (-1, 5), (1.5, 5)])
def test_stairs_refuse_boundaries_that_do_not_rise(boundaries):
    with pytest.raises(ConfigError, match="Expected boundaries"):
        Steps(values=(1.0, 2.0, 3.0), boundaries=boundaries)


def test_stairs_refuse_a_wrong_number_of_values():
    with pytest.raises(ConfigError, match="Got 2 values and 2 boundaries"):
        Steps(values=(1.0, 2.0), boundaries=(1, 2))


def test_em_s_ends_at_the_target_and_never_passes_full():
    density = Steps.em_s(0.01, steps=1_000, every=100)
    assert [density(t) for t in (0, 600, 700, 800, 900, 1_000)] == pytest.approx([0.06, 0.06, 0.035, 0.035, 0.01, 0.01])
    assert Steps.em_s(0.97, steps=1_000, every=100)(0) == 1.0
    short = Steps.em_s(0.1, steps=100, every=80)
    assert [short(19), short(20)] == pytest.approx([0.15, 0.1])


def test_noam_rises_to_its_peak_and_then_falls_with_the_root():
    factor = Noam(d_model=256, warmup=100)
    path = [factor(step) for step in range(1, 1_000)]
    assert int(np.argmax(path)) + 1 == 100
    assert factor(0) == factor(1) == pytest.approx(factor(100) / 100)
    assert factor(400) == pytest.approx(factor(100) / 2)


@given(step=st.integers(1, 10_000))
def test_inoam_is_noam_but_for_the_steps_after_each_update(step):
    ratio = INoam(64, 500, every=100, rewarm=20)(step) / Noam(64, 500)(step)
    assert ratio == pytest.approx(min(step % 100 / 20, 1.0))


def test_inoam_loses_the_steps_that_end_with_an_update_under_lambda_lr_counted_from_one():
    model = sc.SparseLinear(8, 8, density=0.5, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    evolution = sc.SET(model, optimizer, every=5, steps=20)
    factor = INoam(64, 20, every=5, rewarm=2)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step + 1))
    lost, updated = [], []
    for step in range(18):
        model(torch.ones(2, 8)).sum().backward()
        lost.append(optimizer.param_groups[0]["lr"] == 0)
        optimizer.step()
        updated.append(evolution.step())
        scheduler.step()
        optimizer.zero_grad()
        assert lost[step] == ((step + 1) % 5 == 0)
    assert [lost[at] for at, done in enumerate(updated) if done] == [True] * 3


def test_inoam_refuses_a_warm_up_longer_than_the_interval():
    with pytest.raises(ConfigError, match=r"Expected rewarm to be an integer in \[1, 10\]"):
        INoam(64, 500, every=10, rewarm=11)


@given(value=values, steps=lengths)
def test_the_integral_of_a_constant_is_the_constant(value, steps):
    assert integral(Constant(value), steps) == pytest.approx(value, abs=1e-12)


def test_a_sigmoid_of_half_the_length_costs_as_much_as_a_cubic():
    cubic, sigmoid = Cubic(0.5, 0.1, steps=8_000), Sigmoid(0.5, 0.1, steps=4_000)
    assert integral(sigmoid, 10_000) == pytest.approx(integral(cubic, 10_000), rel=1e-3)


def test_the_integral_takes_any_function_of_the_step():
    assert integral(lambda step: float(step), 5) == 2.0
    with pytest.raises(ConfigError, match="Expected steps"):
        integral(Constant(1.0), 0)


def test_an_unknown_name_is_met_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match="Did you mean 'cosine'"):
        schedules.get("cosin")
