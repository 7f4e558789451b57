"""Nothing wrong is timed, nothing missing is passed over in silence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from sparsecore.bench import contenders, kernels, step
from sparsecore.bench.contenders import Contender, Links, dense, peers, products
from sparsecore.bench.gate import disagreement, is_wrong
from sparsecore.bench.run import statuses
from sparsecore.bench.timing import interleaved, median_ratio

SIZES = (20, 24, 24, 5)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        yield
    torch.set_num_threads(threads)


def small_step(names: Sequence[str]) -> dict[str, Any]:
    return step.measure(0.3, 8, names, seconds=1e-3, sizes=SIZES)


@pytest.mark.parametrize("name", contenders.names())
def test_every_contender_trains_the_common_network_or_says_why_not(name: str) -> None:
    row = small_step(["sparsecore", name])
    entry = row["contenders"][name]
    if entry["status"] == "ok":
        assert entry["median_us"] > 0 and entry["threads"] >= 1
    else:
        assert entry["status"].startswith("does not import: ")
    assert not any(map(is_wrong, statuses(row)))


def test_a_contender_with_a_wrong_gradient_is_reported_and_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = contenders.contenders["sparsecore"]

    def off(layers: Sequence[Links]) -> Contender:
        made = right(layers)

        def twice(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            made.step(x, y)  # first loss right, weights wrong from then on
            return made.step(x, y)

        calls = iter([made.step, twice, twice])
        return Contender("off", made.model, lambda x, y: next(calls, twice)(x, y))

    monkeypatch.setitem(contenders.contenders, "off", off)
    entry = small_step(["sparsecore", "off"])["contenders"]["off"]
    assert is_wrong(entry["status"]) and set(entry) == {"status"}


def test_a_peer_that_does_not_import_is_reported_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "sparselab", "no_such_library")
    entry = small_step(["sparsecore", "sparselab"])["contenders"]["sparselab"]
    assert entry == {"status": "does not import: No module named 'no_such_library'"}
    assert peers.peer_reports()["sparselab"].startswith("does not import: ")


def test_a_peer_whose_binary_fails_counts_as_one_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> Any:
        raise OSError("undefined symbol")

    monkeypatch.setattr(peers.importlib, "import_module", broken)
    with pytest.raises(ImportError, match="OSError: undefined symbol"):
        peers.library("sparseprop")


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_all_products_of_a_layer_agree_with_float64(batch: int) -> None:
    row = kernels.measure((24, 36), batch, (0.1, 0.5), seconds=1e-3)
    assert not any(map(is_wrong, statuses(row)))
    found = {(e["contender"], e["density"], e["product"]) for e in row["entries"] if e["status"] == "ok"}
    assert {("sparsecore", 0.1, kind) for kind in ("forward", "backward", "both")} <= found
    assert ("SciPy CSR", 0.5, "forward") in found and ("SciPy CSR", 0.5, "backward") not in found
    speedup = next(e["speedup"] for e in row["entries"] if e["contender"] == "sparsecore" and e["product"] == "both")
    assert {"dense, MKL", "dense, bf16"} <= set(speedup)


@pytest.mark.parametrize("where", ["forward", "input gradient", "weight gradient"])
def test_a_wrong_product_is_reported_and_not_timed(where: str) -> None:
    def off(problem: products.Problem) -> products.Product:
        right = products.SPARSE["sparsecore"](problem)
        assert right.backward is not None
        backward = right.backward

        def y() -> Any:
            return right.forward() * (1.01 if where == "forward" else 1.0)

        def grads() -> Any:
            grad_x, pairs = backward()
            factors = [1.01 if where == name else 1.0 for name in ("input gradient", "weight gradient")]
            return grad_x * factors[0], [(pairs[0][0] * factors[1], None)]

        return products.Product(y, grads, right.read_y, right.read_grads)

    row = kernels.measure((24, 36), 7, (0.2,), seconds=1e-3, sparse={**products.SPARSE, "off": off})
    (entry,) = [entry for entry in row["entries"] if entry["contender"] == "off"]
    assert entry["status"].startswith(f"wrong result: {where}") and "median_us" not in entry


def test_work_beyond_the_limit_is_said_to_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "PEER_LIMIT_FLOP", 10.0)
    row = kernels.measure((24, 36), 7, (0.2,), seconds=1e-3)
    left_out = [e for e in row["entries"] if e["status"].startswith("not measured: more than")]
    assert {entry["contender"] for entry in left_out} == {"torch CSR", "SciPy CSR"}


def test_float32_products_reach_onednn_where_the_page_says_so() -> None:
    try:
        report = dense.onednn_report()
    except ImportError as error:
        pytest.skip(str(error))
    assert report.split()[0] in ("inner_product", "matmul")
    x, weight = torch.randn(5, 12), torch.randn(8, 12)
    assert disagreement(dense.onednn_linear(x, weight), x @ weight.t()) is None


def test_the_gate_sees_values_shapes_and_nan() -> None:
    expected = torch.tensor([1.0, -4.0])
    assert disagreement(expected + 1e-5, expected) is None
    assert "off by" in str(disagreement(expected + 1e-2, expected))
    assert "off by" in str(disagreement(torch.tensor([float("nan"), -4.0]), expected))
    assert "shape" in str(disagreement(expected[:1], expected))


def test_ratios_are_taken_within_a_round() -> None:
    assert median_ratio([2.0, 20.0], [1.0, 100.0]) == pytest.approx((2 + 0.2) / 2)
    assert median_ratio([3.0, 8.0, 1.0], [1.0, 4.0, 5.0]) == 2.0


def test_contenders_take_turns() -> None:
    order: list[str] = []
    timings = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, seconds=1e-4, min_rounds=5)  # type: ignore[misc]
    changes = sum(first != second for first, second in zip(order[:-1], order[1:], strict=True))
    assert changes >= 2 * 5 and timings["a"].ratio == 1.0 and timings["b"].ratio > 0
