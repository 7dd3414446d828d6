"""SASRec, the frozen collaborative-filtering backbone: causal self-attention over a user's recent items.

Histories are aligned to the left, so that the state at position p is the same whether the sequence
ends there or goes on: training and serving see the same positions, and no padding mask is needed.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynmm_core.model.devices import send

PADDING = 0


class SASRecBlock(nn.Module):
    """One pre-norm transformer block: causal self-attention, then a point-wise feed-forward of equal width."""

    def __init__(self, hidden_dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.norm_attention = nn.LayerNorm(hidden_dim)
        self.project_qkv = nn.Linear(hidden_dim, 3 * hidden_dim)
        self.project_out = nn.Linear(hidden_dim, hidden_dim)
        self.norm_feed_forward = nn.LayerNorm(hidden_dim)
        self.feed_forward_in = nn.Linear(hidden_dim, hidden_dim)
        self.feed_forward_out = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, L, hidden_dim) to the next layer's states, same shape."""
        batch, length, width = x.shape
        qkv = self.project_qkv(self.norm_attention(x))
        query, key, value = qkv.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)
        attended = self.project_out(attended.transpose(1, 2).reshape(batch, length, width))
        x = x + F.dropout(attended, self.dropout, self.training)
        hidden = F.relu(self.feed_forward_in(self.norm_feed_forward(x)))
        return x + F.dropout(self.feed_forward_out(hidden), self.dropout, self.training)


class SASRec(nn.Module):
    """Self-attentive sequential recommender.

    Source: Kang and McAuley, 2018; trained with softmax cross-entropy instead of one sampled negative.

    Args:
        num_items: items known to the model; ``item_idx`` runs from 1, 0 is padding.
        hidden_dim: width of items and states, divisible by ``heads``.
        layers: transformer blocks.
        heads: attention heads.
        max_length: most recent items that a state may depend on.
        dropout: probability in [0, 1), active in training only.
    """

    def __init__(
        self, num_items: int, hidden_dim: int, layers: int = 2, heads: int = 2, max_length: int = 50, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        self.item_embedding = nn.Embedding(num_items + 1, hidden_dim, padding_idx=PADDING)
        self.position_embedding = nn.Embedding(max_length, hidden_dim)
        self.blocks = nn.ModuleList(SASRecBlock(hidden_dim, heads, dropout) for _ in range(layers))
        self.norm_out = nn.LayerNorm(hidden_dim)

    @property
    def num_items(self) -> int:
        """Items known to the model."""
        return self.item_embedding.num_embeddings - 1

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from ``generator`` alone, so that one seed gives one model."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if "norm" in name:
                    parameter.fill_(1.0 if name.endswith("weight") else 0.0)
                elif name.endswith("bias"):
                    parameter.zero_()
                elif "embedding" in name:
                    parameter.normal_(0.0, 1.0 / math.sqrt(self.hidden_dim), generator=generator)
                else:
                    bound = math.sqrt(6.0 / (parameter.shape[0] + parameter.shape[1]))
                    parameter.uniform_(-bound, bound, generator=generator)
            self.item_embedding.weight[PADDING].zero_()

    def grow(self, num_items: int, generator: torch.Generator) -> None:
        """Add rows for items ``self.num_items + 1 .. num_items``; earlier rows keep their values."""
        old = self.item_embedding.weight.detach()
        grown = nn.Embedding(num_items + 1, self.hidden_dim, padding_idx=PADDING)
        with torch.no_grad():
            grown.weight.normal_(0.0, 1.0 / math.sqrt(self.hidden_dim), generator=generator)
            grown.weight[: len(old)] = old
        self.item_embedding = grown

    def forward(self, items: Tensor) -> Tensor:
        """Return the states (B, L, hidden_dim) after each position of ``items`` (B, L), padded on the right with 0.

        The state at position p depends on positions 0..p alone. L is at most ``max_length``.
        """
        positions = torch.arange(items.shape[1], device=items.device)
        x = self.item_embedding(items) * math.sqrt(self.hidden_dim) + self.position_embedding(positions)
        x = F.dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        states: Tensor = self.norm_out(x)
        return states


LENGTH_STEPS = (4, 8, 16, 32, 50)
# On a CPU small enough that a slide of a few events costs little, large enough for the matrix kernels to run at speed; a GPU
# would spend its time on starting kernels so small.
TOKENS_PER_BLOCK = 400
TOKENS_PER_GPU_BLOCK = 25_600


@torch.inference_mode()
def encode_histories(model: SASRec, histories: Tensor, lengths: Tensor) -> Tensor:
    """Return the user state r_u (B, hidden_dim) after each history, on the model's device; an empty history has the zero state.

    Args:
        histories: (B, max_length) item indices, oldest first from column 0, 0 behind the end.
        lengths: (B,) how many columns are filled. Both on the CPU, where the rows are laid out.

    Rows run in blocks of fixed shape, chosen by a history's own length, because the result of a row
    multiplied alone differs in its last bits from the same row inside a larger product.
    """
    on = model.item_embedding.weight.device
    states = torch.zeros(len(histories), model.hidden_dim, device=on)
    tokens = TOKENS_PER_BLOCK if on.type == "cpu" else TOKENS_PER_GPU_BLOCK
    steps = [step for step in LENGTH_STEPS if step < model.max_length] + [model.max_length]
    lower = 0
    for step in steps:
        rows = torch.nonzero((lengths > lower) & (lengths <= step)).squeeze(1)
        lower = step
        rows_per_block = tokens // step
        for block in torch.split(rows, rows_per_block):
            padded = torch.zeros(rows_per_block, step, dtype=histories.dtype)
            padded[: len(block)] = histories[block, :step]
            last = torch.stack([torch.arange(len(block)), lengths[block] - 1])
            out = model(send(padded, on))
            row, place = send(last, on)
            states[send(block, on)] = out[row, place]
    return states
