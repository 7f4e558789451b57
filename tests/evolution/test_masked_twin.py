"""A stateful machine: the engine against a masked dense network that is told which links to hold."""

import copy

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import nn

import sparsecore as sc
from sparsecore.models import MLP

SIZES = (12, 16, 14)
OPTIMIZERS = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9),
    "adam": lambda params: torch.optim.Adam(params, lr=0.01),
    "rmsprop": lambda params: torch.optim.RMSprop(params, lr=0.01, momentum=0.5),
}
METHODS = {"chts": sc.CHTs, "set": sc.SET}


class MaskedTwin:
    """Dense weights in float64, zero where the engine has no link; its optimizer sees only masked gradients."""

    def __init__(self, model, make_optimizer):
        self.linears = [nn.Linear(a, b).double() for a, b in zip(SIZES[:-1], SIZES[1:], strict=True)]
        self.head = nn.Linear(SIZES[-1], 3).double()
        self.masks = []
        for linear, layer in zip(self.linears, sc.sparse_layers(model).values(), strict=True):
            weight = np.zeros(layer.topology.shape)
            weight[layer.topology.rows, layer.topology.cols] = layer.values.detach().numpy()
            linear.weight.data = torch.from_numpy(weight)
            linear.bias.data.zero_()
            self.masks.append(torch.from_numpy(layer.topology.to_dense()))
        self.head.load_state_dict(model.head.state_dict())
        self.optimizer = make_optimizer([p for m in (*self.linears, self.head) for p in m.parameters()])

    def step(self, x, y):
        for linear in self.linears:
            x = torch.relu(linear(x))
        loss = nn.functional.cross_entropy(self.head(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        for linear, mask in zip(self.linears, self.masks, strict=True):
            linear.weight.grad *= mask
        self.optimizer.step()
        return loss.item()

    def follow(self, plans):
        for index, (linear, plan) in enumerate(zip(self.linears, plans, strict=True)):
            stays = torch.from_numpy(plan.edit.old.to_dense() & plan.edit.new.to_dense())
            linear.weight.data *= stays
            for entry in self.optimizer.state[linear.weight].values():
                if torch.is_tensor(entry) and entry.shape == linear.weight.shape:
                    entry *= stays
            self.masks[index] = torch.from_numpy(plan.edit.new.to_dense())


class EngineAgainstTwin(RuleBasedStateMachine):
    @initialize(
        optimizer=st.sampled_from(sorted(OPTIMIZERS)), method=st.sampled_from(sorted(METHODS)), seed=st.integers(0, 99)
    )
    def start(self, optimizer, method, seed):
        self.make_optimizer, self.make_method = OPTIMIZERS[optimizer], METHODS[method]
        self.build(seed)
        self.twin = MaskedTwin(self.model, self.make_optimizer)
        self.batches, self.saved = 0, None

    def build(self, seed):
        self.model = MLP(SIZES[0], SIZES[1:], 3, density=0.3, seed=seed).double()
        self.optimizer = self.make_optimizer(self.model.parameters())
        self.evolution = self.make_method(self.model, self.optimizer, every=10**6, zeta=0.3, seed=seed)

    def batch(self):
        self.batches += 1
        generator = torch.Generator().manual_seed(self.batches)
        x = torch.randn(9, SIZES[0], generator=generator, dtype=torch.float64)
        return x, torch.randint(3, (9,), generator=generator)

    @rule(steps=st.integers(1, 4))
    def train(self, steps):
        for _ in range(steps):
            x, y = self.batch()
            loss = nn.functional.cross_entropy(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.evolution.step()
            np.testing.assert_allclose(loss.item(), self.twin.step(x, y), rtol=1e-6, atol=1e-8)

    @rule()
    def evolve(self):
        self.twin.follow(self.evolution.update())

    @rule()
    def checkpoint(self):
        parts = (self.model, self.optimizer, self.evolution)
        self.saved = copy.deepcopy([part.state_dict() for part in parts]), copy.deepcopy(self.twin), self.batches

    @precondition(lambda self: self.saved is not None)
    @rule(seed=st.integers(0, 99))
    def resume(self, seed):
        states, twin, self.batches = copy.deepcopy(self.saved)
        self.build(seed)
        for part, state in zip((self.model, self.optimizer, self.evolution), states, strict=True):
            part.load_state_dict(state)
        self.twin = twin

    @invariant()
    def weights_and_moments_agree_at_the_links(self):
        if not hasattr(self, "twin"):
            return
        for layer, linear in zip(sc.sparse_layers(self.model).values(), self.twin.linears, strict=True):
            at = layer.topology.rows, layer.topology.cols
            np.testing.assert_allclose(
                layer.values.detach().numpy(), linear.weight.detach().numpy()[at], rtol=1e-6, atol=1e-9
            )
            mine, other = self.optimizer.state[layer.values], self.twin.optimizer.state[linear.weight]
            for key, entry in mine.items():
                if torch.is_tensor(entry) and entry.shape == layer.values.shape:
                    np.testing.assert_allclose(entry.numpy(), other[key].numpy()[at], rtol=1e-6, atol=1e-12)


EngineAgainstTwin.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
test_the_engine_equals_a_masked_dense_network = EngineAgainstTwin.TestCase
