"""Products of link lists with feature-major activations, ``(features, batch)``: launches and choice of kernel."""

from __future__ import annotations

import torch

from sparsecore.errors import DtypeError
from sparsecore.kernels.gpu.lists import DeviceLists
from sparsecore.kernels.gpu.runtime import GRID_LIMIT, WARP, Runtime

__all__ = ["FORMS", "accumulator", "gate_and_sum", "sddmm", "spmm", "spmm_t"]

#: Name and numbers per vector of every storage type.
FORMS = {torch.float32: ("f32", 4), torch.bfloat16: ("bf16", 4), torch.float64: ("f64", 2)}

#: As in products.cu.
ROW_WARPS, TILE_WARPS, TILE_ROWS, GROUP = 8, 16, 8, 8

#: Shared memory of the tiled kernel that is not its tile.
STAGED_BYTES = 9 * 1024

#: Fewest samples, and fewest links of a row within one tile, for which x goes through shared memory. From a model of
#: the memory system, not from measurements; see docs/gpu.md.
TILE_SAMPLES, TILE_LINKS = 64, 4.0

#: As in tensor.cu; shared memory of two staged tiles, which the sums then fit into.
TENSOR_SIDE, TENSOR_WARPS, TENSOR_BYTES = 64, 4, 2 * 64 * 72 * 2

#: Lowest density at which tensor cores compute whole tiles of gradients to keep those of links; from the same model.
TENSOR_DENSITY = 0.02


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """Return the type that sums over activations of `dtype` have, which values and biases come in.

    Raises
    ------
    DtypeError
        If activations cannot be stored in `dtype`.
    """
    if dtype not in FORMS:
        raise DtypeError(f"Expected activations in {', '.join(map(str, FORMS))}. Got {dtype}.")
    return torch.float64 if dtype == torch.float64 else torch.float32


def spmm(
    runtime: Runtime,
    lists: DeviceLists,
    values: torch.Tensor,
    x: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    relu: bool = False,
    tiled: bool | None = None,
) -> torch.Tensor:
    """Return ``relu(W @ x + bias)``, (n_out, batch).

    Parameters
    ----------
    runtime : Runtime
        Launches kernels.
    lists : DeviceLists
        The links.
    values : Tensor, float32 or float64, (n_links,)
        Value of every link, input-major, in the `accumulator` type.
    x : Tensor, float32, bfloat16 or float64, (n_in, batch)
        Activations.
    bias : Tensor, (n_out,), optional
        In the `accumulator` type.
    relu : bool
        Rectify.
    tiled : bool, optional
        Whether x goes through shared memory; chosen by shape and density when missing.
    """
    ordered = values.index_select(0, lists.row_order)
    n_out, n_in = lists.shape
    return _product(runtime, n_out, n_in, lists.row_ptr, lists.row_cols, ordered, x, bias, None, relu, tiled)


def spmm_t(
    runtime: Runtime,
    lists: DeviceLists,
    values: torch.Tensor,
    grad: torch.Tensor,
    gate: torch.Tensor | None = None,
    *,
    tiled: bool | None = None,
) -> torch.Tensor:
    """Return ``W.T @ grad``, (n_in, batch), 0 where `gate`, (n_in, batch), is not positive; else as `spmm`."""
    n_out, n_in = lists.shape
    return _product(runtime, n_in, n_out, lists.col_ptr, lists.rows, values, grad, None, gate, False, tiled)


def _product(
    runtime: Runtime,
    n_rows: int,
    n_cols: int,
    ptr: torch.Tensor,
    cols: torch.Tensor,
    values: torch.Tensor,
    x: torch.Tensor,
    bias: torch.Tensor | None,
    gate: torch.Tensor | None,
    relu: bool,
    tiled: bool | None,
) -> torch.Tensor:
    batch = x.shape[1]
    y = torch.empty((n_rows, batch), dtype=x.dtype, device=x.device)
    name, vector = _form(x.dtype, batch)
    columns = min(-(-batch // (WARP * vector)), GRID_LIMIT)
    arguments = (n_rows, n_cols, ptr, cols, values, x, batch, bias, gate, int(relu), y)
    height = max(1, (runtime.shared_bytes - STAGED_BYTES) // (WARP * vector * x.element_size()))
    if tiled is None:
        tiled = batch >= TILE_SAMPLES and cols.numel() * height >= TILE_LINKS * n_rows * n_cols
    if tiled:
        height = min(height, max(n_cols, 1))
        grid = -(-n_rows // (TILE_WARPS * TILE_ROWS)), columns
        shared = height * WARP * vector * x.element_size()
        runtime.launch("products", f"spmm_tile_{name}", grid, TILE_WARPS * WARP, *arguments, height, shared=shared)
    else:
        runtime.launch(
            "products", f"spmm_rows_{name}", (-(-n_rows // ROW_WARPS), columns), ROW_WARPS * WARP, *arguments
        )
    return y


def sddmm(
    runtime: Runtime, lists: DeviceLists, grad: torch.Tensor, x: torch.Tensor, *, tensor: bool | None = None
) -> torch.Tensor:
    """Return the gradient of the values, in the `accumulator` type, (n_links,).

    Parameters
    ----------
    runtime : Runtime
        Launches kernels.
    lists : DeviceLists
        The links.
    grad : Tensor, (n_out, batch)
        Gradient of the outputs.
    x : Tensor, (n_in, batch)
        Inputs, of the same type.
    tensor : bool, optional
        Whether tensor cores compute it tile by tile, for bfloat16 and a multiple of 8 samples; chosen by shape and
        density when missing.
    """
    batch = x.shape[1]
    grads = torch.empty(lists.n_links, dtype=accumulator(x.dtype), device=x.device)
    n_out, n_in = lists.shape
    if tensor is None:
        tensor = batch >= TILE_SAMPLES and lists.n_links >= TENSOR_DENSITY * n_out * n_in
    if tensor and x.dtype == torch.bfloat16 and batch % 8 == 0:
        grid = -(-n_out // TENSOR_SIDE), min(-(-n_in // TENSOR_SIDE), GRID_LIMIT)
        arguments = (n_out, n_in, lists.col_ptr, lists.rows, grad, x, batch, grads)
        runtime.launch("tensor", "sddmm_tensor", grid, TENSOR_WARPS * WARP, *arguments, shared=TENSOR_BYTES)
        return grads
    name, _ = _form(x.dtype, batch)
    grid = (-(-lists.n_links // (ROW_WARPS * GROUP)), 1)
    runtime.launch(
        "products",
        f"sddmm_{name}",
        grid,
        ROW_WARPS * WARP,
        lists.n_links,
        lists.rows,
        lists.cols,
        grad,
        x,
        batch,
        grads,
    )
    return grads


def gate_and_sum(
    runtime: Runtime, grad: torch.Tensor, y: torch.Tensor | None, *, sums: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return `grad`, (n, batch), 0 where `y` is not positive, and its sum over the batch, (n,), if asked for."""
    if y is None and not sums:
        return grad, None
    n_rows, batch = grad.shape
    gated = grad if y is None else torch.empty_like(grad)
    total = torch.empty(n_rows, dtype=accumulator(grad.dtype), device=grad.device) if sums else None
    kernel, grid = f"gate_and_sum_{FORMS[grad.dtype][0]}", (-(-n_rows // ROW_WARPS), 1)
    runtime.launch("products", kernel, grid, ROW_WARPS * WARP, n_rows, batch, grad, y, gated, total)
    return gated, total


def _form(dtype: torch.dtype, batch: int) -> tuple[str, int]:
    """Return the end of the kernels' names and the samples of one lane."""
    name, vector = FORMS[dtype]
    vector = vector if batch % vector == 0 and batch > WARP else 1
    return f"{name}_v{vector}", vector
