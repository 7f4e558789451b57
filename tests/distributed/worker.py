"""A training script as a user writes it, run by the tests under torchrun and alone: argument is a JSON of options.

Every rank sees its share of each batch; rank 0 writes losses, links and values of the end. With ``kill`` a rank dies by
SIGKILL at a step of the first attempt.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.optim import ZeroRedundancyOptimizer

import sparsecore as sc
from sparsecore.distributed import DataParallel, share, start, stop
from sparsecore.io import load, save
from sparsecore.models import MLP
from sparsecore.predictors import Momentum

OPTIONS = json.loads(sys.argv[1])
OUT = Path(OPTIONS["out"])
STEPS, BATCH, EVERY = 24, 24, 4


def method(model, optimizer):
    name = OPTIONS["method"]
    if name == "chtss":
        return sc.CHTss(model, optimizer, every=EVERY, steps=STEPS, density=0.15, seed=3)
    if name == "window":
        return sc.RigL(model, optimizer, every=EVERY, steps=STEPS, seed=3, predictor=Momentum(window_steps=2))
    return {"chts": sc.CHTs, "rigl": sc.RigL, "deepr": sc.DeepR, "set": sc.SET}[name](
        model, optimizer, every=EVERY, steps=STEPS, seed=3
    )


def make_optimizer(params):
    settings = {"lr": 0.05, "momentum": 0.9} if OPTIONS["optimizer"] == "sgd" else {"lr": 0.01}
    kind = torch.optim.SGD if OPTIONS["optimizer"] == "sgd" else torch.optim.Adam
    if OPTIONS.get("zero") and dist.is_initialized():
        return ZeroRedundancyOptimizer(params, kind, **settings)
    return kind(params, **settings)


def main():
    torch.set_num_threads(1)
    alone = "RANK" not in os.environ
    if not alone:
        start("gloo")
    rank, ranks = (0, 1) if alone else (dist.get_rank(), dist.get_world_size())
    first_attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    model = MLP(12, (20, 16), 3, density=0.4, seed=0).double()
    optimizer = make_optimizer(list(model.parameters()))
    evolution = method(model, optimizer)
    network = model if alone else DataParallel(model, find_unused_parameters=OPTIONS.get("fixed_buckets", False))
    if not alone:
        share(evolution)
    parts = {"model": model, "optimizer": optimizer, "evolution": evolution}
    done, losses, path = 0, [], OUT / "state.safetensors"
    if path.exists():
        state = load(path)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        done, losses = state["step"], state["losses"]
    for step in range(done, STEPS):
        if first_attempt and OPTIONS.get("kill") == [rank, step]:
            os.kill(os.getpid(), signal.SIGKILL)
        draw = torch.Generator().manual_seed(step)
        x = torch.randn(BATCH, 12, generator=draw, dtype=torch.float64)
        y = torch.randint(3, (BATCH,), generator=draw)
        x, y = x.chunk(ranks)[rank], y.chunk(ranks)[rank]
        loss = torch.nn.functional.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        evolution.step()
        optimizer.zero_grad()
        mean = loss.detach() / ranks
        if not alone:
            dist.all_reduce(mean)
        losses.append(float(mean))
        if OPTIONS.get("save_every") and (step + 1) % OPTIONS["save_every"] == 0:
            if OPTIONS.get("zero"):
                optimizer.consolidate_state_dict(to=0)
            if rank == 0:
                save(path, {n: p.state_dict() for n, p in parts.items()} | {"step": step + 1, "losses": losses})
            if not alone:
                dist.barrier()
    if rank == 0:
        layers = sc.sparse_layers(model).values()
        end = {
            "losses": losses,
            "digests": [layer.topology.digest for layer in layers],
            "links": [layer.topology.n_links for layer in layers],
            "values": [layer.values.detach().tolist() for layer in layers],
            "attempt": os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"),
        }
        (OUT / "end.json").write_text(json.dumps(end))
    if not alone:
        stop()


if __name__ == "__main__":
    main()
