"""A patched table reads like the copy that it replaces."""

import pytest
import torch

from dynmm_core.model.patched import PatchedRows


@pytest.mark.parametrize("rows", [[], [0], [4], [1, 2, 4], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("zero", [False, True])
def test_it_reads_like_a_copy_with_the_rows_written_in(rows: list[int], zero: bool) -> None:
    under, values = torch.arange(15.0).reshape(5, 3), -1.0 - torch.arange(3.0 * len(rows)).reshape(-1, 3)
    copy = torch.zeros(5, 3) if zero else under.clone()
    copy[torch.tensor(rows, dtype=torch.long)] = values
    patched = PatchedRows(5 if zero else under, torch.tensor(rows, dtype=torch.long), values)
    for index in (torch.tensor([3, 0, 4, 4, 1, 2]), torch.tensor([[2, 4], [0, 3]]), torch.zeros(0, dtype=torch.long)):
        assert torch.equal(patched[index], copy[index])
    assert torch.equal(patched.whole, copy)
    assert len(patched) == 5
    assert torch.equal(under, torch.arange(15.0).reshape(5, 3))
