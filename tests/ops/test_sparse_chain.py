import pytest
import torch
from strategies import random_topology

from sparsecore.errors import DtypeError, ShapeError, SignalError
from sparsecore.kernels import Layer
from sparsecore.ops import sparse_chain, sparse_linear


def layer(n_out=6, n_in=8, relu=False, seed=0):
    topology = random_topology(n_out, n_in, 0.4, seed)
    return Layer(topology, torch.randn(topology.n_links).requires_grad_(), torch.randn(n_out).requires_grad_(), relu)


def test_inputs_of_any_rank_keep_their_leading_axes():
    one = layer()
    x = torch.randn(2, 3, 5, 8)
    y = sparse_linear(x, one.values, one.topology, one.bias)
    flat = sparse_linear(x.reshape(-1, 8), one.values, one.topology, one.bias)
    assert y.shape == (2, 3, 5, 6)
    assert torch.equal(y.reshape(-1, 6), flat)
    assert sparse_linear(x[0, 0, 0], one.values, one.topology).shape == (6,)


def test_a_chain_equals_its_layers_one_by_one():
    layers = [layer(6, 8, True), layer(9, 6, True, 1), layer(4, 9, False, 2)]
    x = torch.randn(32, 8).requires_grad_()
    params = [x, *(p for la in layers for p in (la.values, la.bias))]
    chained = sparse_chain(x, layers)
    stepwise = x
    for la in layers:
        stepwise = sparse_chain(stepwise, [la])
    assert torch.equal(chained, stepwise)
    for one, other in zip(
        torch.autograd.grad(chained.square().sum(), params),
        torch.autograd.grad(stepwise.square().sum(), params),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_and_values_sum_in_float32(dtype):
    one = layer()
    x = torch.randn(20, 8).to(dtype)
    values, bias = (p.detach().to(dtype).requires_grad_() for p in (one.values, one.bias))
    y = sparse_linear(x, values, one.topology, bias)
    exact = sparse_linear(x.float(), values.float(), one.topology, bias.float())
    assert y.dtype == dtype
    assert torch.equal(y, exact.to(dtype))
    y.float().sum().backward()
    assert values.grad.dtype == dtype


def test_autocast_decides_the_dtype_of_outputs():
    one = layer()
    with torch.autocast("cpu", torch.bfloat16):
        y = sparse_linear(torch.randn(4, 8), one.values, one.topology)
    assert y.dtype == torch.bfloat16


def test_gradients_accumulate_over_two_backward_passes():
    one = layer()
    x = torch.randn(5, 8)
    loss = sparse_linear(x, one.values, one.topology).sum()
    loss.backward(retain_graph=True)
    first = one.values.grad.clone()
    loss.backward()
    assert torch.equal(one.values.grad, 2 * first)


def test_an_input_changed_before_backward_is_noticed():
    one = layer()
    x = torch.randn(32, 8).t().contiguous().t()
    y = sparse_linear(x, one.values, one.topology)
    x.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_links_changed_between_forward_and_backward_are_noticed():
    one = layer()
    y = sparse_linear(torch.randn(4, 8), one.values, one.topology)
    one.values.data = torch.zeros(3)
    with pytest.raises(SignalError, match="after backward"):
        y.sum().backward()


def test_bad_inputs_are_refused():
    one = layer()
    with pytest.raises(ShapeError, match="Expected inputs with 8 features.*Got 7"):
        sparse_linear(torch.randn(4, 7), one.values, one.topology)
    with pytest.raises(ShapeError, match=r"values, one per link. Got 3. Evaluate inside"):
        sparse_chain(torch.zeros(1, 8), [Layer(random_topology(4, 8, 0.5), torch.zeros(3), None, False)])
    with pytest.raises(ShapeError, match="Expected values of shape"):
        sparse_linear(torch.randn(4, 8), one.values[1:], one.topology)
    with pytest.raises(DtypeError, match="floating"):
        sparse_linear(torch.zeros(4, 8, dtype=torch.int64), one.values, one.topology)


def test_a_bias_of_another_size_is_refused():
    one = layer()
    with pytest.raises(ShapeError, match=r"a bias of shape \(6,\)"):
        sparse_linear(torch.randn(2, 8), one.values, one.topology, torch.ones(1))
