"""The online head: a score per candidate from its features, with weights that depend on the user's state."""

import numpy as np
import torch
from torch import Tensor, nn

from dynmm_core.model.devices import send
from dynmm_core.model.features import USER_SUMMARY_DIM

HIDDEN = 32
REQUEST_STATE_DIM = USER_SUMMARY_DIM + 1
_VERSION_AGE_UNIT_MS = 300_000


class OnlineHead(nn.Module):
    """S(u, i) = Σ_f F_f(u, i) · (w_f + (U B)_f) + MLP([F, U]), whose second part is zero at first.

    The age of the version, the last of U, counts for no more than ``greatest_age``, the greatest that the head has learned from:
    when versions come late, weights that were learned over an hour would be drawn out over a day.

    Args:
        features: width f of a candidate's features; state: width s of the request's.
    """

    greatest_age: Tensor

    def __init__(self, features: int, state: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.register_buffer("greatest_age", torch.zeros(()))
        self.weight = nn.Parameter(torch.zeros(features))
        self.by_state = nn.Parameter(torch.zeros(state, features))
        self.w1 = nn.Linear(features + state, hidden)
        self.w2 = nn.Linear(hidden, 1, bias=False)

    def initialise(self, weight: Tensor, generator: torch.Generator) -> None:
        """Start from the linear ``weight`` (f,); draw W₁ from ``generator``; all else is zero."""
        bound = 1.0 / self.w1.in_features**0.5
        with torch.no_grad():
            self.weight.copy_(weight)
            self.w1.weight.uniform_(-bound, bound, generator=generator)
            for parameter in (self.by_state, self.w1.bias, self.w2.weight):
                parameter.zero_()

    def linear_parameters(self) -> list[nn.Parameter]:
        """The weights of the linear part."""
        return [self.weight, self.by_state]

    def meet(self, state: Tensor) -> None:
        """Take note of the ages in ``state`` (n, s), which are going to be learned from."""
        self.greatest_age.copy_(torch.maximum(self.greatest_age, state[:, -1].amax()))

    def forward(self, features: Tensor, state: Tensor) -> Tensor:
        """Return the scores (n, c) of candidates ``features`` (n, c, f) of requests in ``state`` (n, s)."""
        state = self._clamped(state)
        weight = self.weight + state @ self.by_state
        linear = torch.bmm(features, weight[:, :, None]).squeeze(2)
        of_features, of_state = self.w1.weight[:, : features.shape[2]], self.w1.weight[:, features.shape[2] :]
        hidden = torch.relu(features @ of_features.T + (state @ of_state.T + self.w1.bias)[:, None, :])
        scores: Tensor = linear + self.w2(hidden).squeeze(2)
        return scores

    @torch.no_grad()
    def ranking(self, features: Tensor, state: Tensor, row: Tensor) -> Tensor:
        """Return the same scores (m,) of candidates that differ in number from request to request.

        Args:
            features: (f, m), a feature's values side by side; state: (n, s); row: (m,) the request of each candidate.
        """
        state = self._clamped(state)
        of_features, of_state = self.w1.weight[:, : len(features)], self.w1.weight[:, len(features) :]
        # The features are read once, for all that is multiplied with them.
        said = torch.cat([of_features, self.by_state, self.weight[None]]) @ features
        hidden, by_state, linear = said[: len(of_features)], said[len(of_features) : -1], said[-1]
        of_request = of_state @ state.T + self.w1.bias[:, None]
        hidden = torch.relu(hidden + of_request.index_select(1, row))
        by_state = (by_state * state.T.index_select(1, row)).sum(0)
        return linear + by_state + (self.w2.weight @ hidden)[0]

    def _clamped(self, state: Tensor) -> Tensor:
        return torch.cat([state[:, :-1], torch.minimum(state[:, -1:], self.greatest_age)], dim=1)


def request_state(user_summary: Tensor, version_age_ms: np.ndarray) -> Tensor:
    """Return (n, REQUEST_STATE_DIM): the user's summary (n, USER_SUMMARY_DIM) and the log of how old the version is (n,).

    What was popular when a version was made says less of a request an hour later.
    """
    age = np.log1p(np.maximum(version_age_ms, 0) / _VERSION_AGE_UNIT_MS) / 2.0
    return torch.cat([user_summary, send(torch.from_numpy(age.astype(np.float32)), user_summary.device)[:, None]], dim=1)
