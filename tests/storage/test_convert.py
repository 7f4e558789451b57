import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from strategies import topologies

from sparsecore.errors import ShapeError
from sparsecore.storage import Topology, from_scipy, from_torch, to_scipy, to_torch


@given(topologies())
def test_scipy_round_trip_keeps_links_and_values(topology):
    values = np.arange(1.0, topology.n_links + 1, dtype=np.float32)
    matrix = to_scipy(topology, values)
    assert np.array_equal(matrix.toarray()[topology.rows, topology.cols], values)
    for again in (matrix, scipy.sparse.csr_array(matrix), scipy.sparse.coo_array(matrix)):
        back, back_values = from_scipy(again)
        assert back == topology
        assert np.array_equal(back_values, values)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@given(topologies())
def test_torch_round_trip_keeps_links_and_values(topology):
    values = torch.arange(1.0, topology.n_links + 1)
    matrix = to_torch(topology, values)
    back, back_values = from_torch(matrix)
    assert back == topology
    assert torch.equal(back_values, values)


def test_a_wrong_number_of_values_is_refused():
    topology, _ = from_scipy(scipy.sparse.eye_array(3))
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        to_scipy(topology, np.zeros(2))
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        to_torch(topology, torch.zeros(2))


def test_a_matrix_holds_values_of_its_own():
    values = np.ones(2, np.float32)
    to_scipy(Topology.from_ids([0, 3], (2, 2)), values).data *= 0
    assert values.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("indices", [[[0, 1]], [[0, 1], [1, 0], [0, 0]]], ids=["vector", "cube"])
def test_tensors_that_are_no_matrices_are_refused(indices):
    with pytest.raises(ShapeError, match="Expected a matrix with one number per link"):
        from_torch(torch.sparse_coo_tensor(torch.tensor(indices), torch.ones(2), check_invariants=True))
    hybrid = torch.sparse_coo_tensor(torch.tensor([[0, 1], [1, 0]]), torch.ones(2, 3), check_invariants=True)
    with pytest.raises(ShapeError, match="1 dense dimensions"):
        from_torch(hybrid)
