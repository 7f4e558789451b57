"""Ways to train one and the same network: ours, dense, and what the field offers."""

from sparsecore.bench.contenders import dense, ours, peers, torch_csr
from sparsecore.bench.contenders.network import Contender, Links, build, contenders, names, register

__all__ = [
    "Contender",
    "Links",
    "build",
    "contenders",
    "dense",
    "names",
    "ours",
    "peers",
    "register",
    "torch_csr",
]
