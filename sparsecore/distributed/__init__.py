"""Training on several processes or machines: the same links on every rank, gradients averaged, updates agreed on."""

from sparsecore.distributed.agreement import share
from sparsecore.distributed.checks import require_same
from sparsecore.distributed.parallel import DataParallel
from sparsecore.distributed.start import start, stop

__all__ = ["DataParallel", "require_same", "share", "start", "stop"]
