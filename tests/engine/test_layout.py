import numpy as np
import pytest
import torch

from loupe.engine.layout import OwnKeys, Prefixes, Ragged, causal_bias, consecutive

CPU = torch.device("cpu")


@pytest.mark.parametrize("lengths", [[3], [2, 2], [1, 3, 2], [0, 2, 0], [4, 0]])
def test_flat_tokens_in_blocks_and_back(lengths):
    flat = torch.arange(1.0, 1 + sum(lengths) * 6).reshape(-1, 6)
    ragged = Ragged(lengths, CPU)
    padded = ragged.pad(flat)
    assert padded.shape == (len(lengths), max(lengths), 6)
    for block, rows, length in zip(padded, flat.split(lengths), lengths, strict=True):
        assert torch.equal(block[:length], rows) and not block[length:].any()
    assert torch.equal(ragged.flat(padded), flat)


def test_consecutive_numbers():
    assert consecutive(np.array([5, 0, 9]), [2, 3, 0]).tolist() == [5, 6, 0, 1, 2]


def test_heads_that_share_keys_become_further_queries():
    ragged = Ragged([1, 2], CPU)
    flat = torch.arange(3 * 4 * 2.0).reshape(3, 4, 2)  # 4 heads, 2 of them for each of 2 kv heads
    grouped = ragged.group(flat, kv_heads=2)
    assert grouped.shape == (2, 2, 4, 2)
    assert torch.equal(grouped[1, 0], torch.stack([flat[1, 0], flat[1, 1], flat[2, 0], flat[2, 1]]))
    assert torch.equal(grouped[0, 1, :2], flat[0, 2:]) and not grouped[0, 1, 2:].any()
    assert torch.equal(ragged.ungroup(grouped), flat)


def test_no_token_sees_a_later_one():
    bias = causal_bias(torch.tensor([0, 2]), width=2, columns=4, heads=2, dtype=torch.float32)
    assert bias.shape == (2, 1, 4, 4)  # two tokens of two heads each
    assert (bias[0, 0] == 0).int().tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert (bias[1, 0] == 0).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert bias.unique().tolist() == [-torch.inf, 0]


def test_own_keys_grow_with_each_branch(monkeypatch):
    monkeypatch.setattr(OwnKeys, "STEP", 2)
    own, told = OwnKeys(3, 2, CPU), [torch.empty(2, 0, 4) for _ in range(3)]
    for counts in ([1, 2, 1], [1, 0, 3], [0, 0, 1], [2, 1, 0]):
        assert own.begin(counts).tolist() == [row.shape[1] for row in told]
        new = torch.randn(sum(counts), 2, 4)
        told = [torch.cat([row, part.transpose(0, 1)], 1) for row, part in zip(told, new.split(counts), strict=True)]
        keys, values = own.append(0, new, -new)
        assert keys.shape == values.shape == (3, 2, max(row.shape[1] for row in told), 4)
        assert all(torch.equal(held[:, : row.shape[1]], row) for held, row in zip(keys, told, strict=True))
        assert torch.equal(values, -keys)
    own.keep([0, 2])
    own.begin([1, 1])
    keys, _ = own.append(0, torch.zeros(2, 2, 4), torch.zeros(2, 2, 4))
    assert all(torch.equal(held[:, : told[i].shape[1]], told[i]) for held, i in zip(keys, (0, 2), strict=True))


def test_what_is_behind_the_columns_is_finite():
    """Nothing that a mask hides may be NaN."""
    own = OwnKeys(2, 1, CPU)
    own.begin([3, 1])
    keys, _ = own.append(0, torch.ones(4, 1, 1), torch.ones(4, 1, 1))
    assert keys.flatten(1).tolist() == [[1, 1, 1], [1, 0, 0]]


def prefixes(lengths):
    keys = torch.arange(float(len(lengths))).reshape(-1, 1, 1, 1).expand(-1, 1, max(lengths), 1)
    return Prefixes([(keys, -keys)], lengths, torch.zeros(len(lengths), 2), [10 * n for n in lengths], 2)


def test_selecting_prefixes():
    chosen = prefixes([1, 3, 2]).select([0, 2])
    assert chosen.lengths == [1, 2] and chosen.next_positions == [10, 20]
    assert [tensor.flatten().unique().tolist() for tensor in chosen.tensors()] == [[0, 2], [-2, 0], [0]]


def test_the_padding_of_a_prefix_is_hidden():
    shared = prefixes([1, 3]).share([0, 1, 1], [2, 1, 2])
    assert (shared.prefix_bias[:, 0, 0] == 0).int().tolist() == [[1, 0, 0], [1, 1, 1]]
    assert (shared.by_prompt.blocks, shared.by_prompt.width) == (2, 3)
    assert (shared.by_branch.blocks, shared.by_branch.width) == (3, 2)
