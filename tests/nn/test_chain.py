import pickle

import pytest
import torch
from torch import nn

from sparsecore.nn import SparseLinear, SparseSequential, find_chains
from sparsecore.nn.chain import DENSE_LIMIT


def sparse(n_in, n_out, **options):
    return SparseLinear(n_in, n_out, density=0.3, seed=n_in + n_out, **options)


@pytest.mark.parametrize(
    "build",
    [
        lambda: [sparse(8, 16), nn.ReLU(), sparse(16, 12), nn.ReLU(), sparse(12, 4)],
        lambda: [sparse(8, 16), nn.ReLU(), nn.ReLU(), sparse(16, 4), nn.ReLU()],
        lambda: [nn.ReLU(), sparse(8, 16), nn.GELU(), sparse(16, 4)],
        lambda: [sparse(8, 16, relu=True), nn.ReLU(), sparse(16, 4, bias=False), nn.Linear(4, 3), nn.ReLU()],
        lambda: [nn.Linear(8, 8)],
    ],
)
def test_fusing_changes_nothing(build):
    fused = SparseSequential(*build())
    plain = nn.Sequential(*fused)
    x = torch.randn(32, 8)
    one, other = fused(x), plain(x)
    torch.testing.assert_close(one, other)
    params = list(fused.parameters())
    for a, b in zip(
        torch.autograd.grad(one.square().sum(), params),
        torch.autograd.grad(other.square().sum(), params),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_small_dense_head_joins_the_chain():
    net = SparseSequential(sparse(8, 16), nn.ReLU(), nn.Linear(16, 3))
    assert net(torch.randn(2, 8)).grad_fn.name().startswith("_SparseChain")
    wide = SparseSequential(sparse(8, 16), nn.ReLU(), nn.Linear(16, DENSE_LIMIT + 1))
    assert not wide(torch.randn(2, 8)).grad_fn.name().startswith("_SparseChain")


def test_replaced_modules_and_new_hooks_are_noticed():
    net = SparseSequential(sparse(8, 16), nn.ReLU(), sparse(16, 4))
    x = torch.randn(2, 8)
    before = net(x)
    net[2] = sparse(16, 5)
    assert net(x).shape == (2, 5)
    seen = []
    handle = net[0].register_forward_hook(lambda *args: seen.append(1))
    net(x)
    handle.remove()
    net(x)
    assert seen == [1]
    assert before.shape == (2, 4)
    twin = pickle.loads(pickle.dumps(net))
    assert torch.equal(twin(x), net(x))
    assert "_steps" not in net.__getstate__()


def test_a_chain_is_one_autograd_node():
    net = SparseSequential(sparse(8, 16), nn.ReLU(), sparse(16, 4))
    node = net(torch.randn(2, 8)).grad_fn
    assert "SparseChain" in node.name()
    assert {type(child).__name__ for child, _ in node.next_functions if child is not None} == {"AccumulateGrad"}


def test_hooks_on_a_module_still_fire():
    net = SparseSequential(sparse(8, 16), nn.ReLU(), sparse(16, 4))
    seen = []
    handle = net[0].register_forward_hook(lambda module, args, output: seen.append(output.shape))
    expected = net(torch.ones(2, 8))
    handle.remove()
    assert seen == [torch.Size([2, 16])]
    assert torch.equal(net(torch.ones(2, 8)), expected)


def test_layers_that_share_neurons_form_chains():
    a, b, c, d, e = sparse(8, 16), sparse(16, 12), sparse(12, 4), sparse(4, 4), sparse(5, 4)
    model = nn.ModuleDict(
        {
            "first": nn.Sequential(a, nn.ReLU(), nn.Dropout(0.1), b, nn.Linear(12, 12), c),
            "alone": d,
            "second": SparseSequential(e),
        }
    )
    assert find_chains(model) == [[a, b], [c], [e], [d]]


def test_a_module_may_state_its_own_chains():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = sparse(4, 8), sparse(8, 4)

        def sparse_chains(self):
            return [[self.up, self.down]]

    block = Block()
    assert find_chains(nn.Sequential(block)) == [[block.up, block.down]]
