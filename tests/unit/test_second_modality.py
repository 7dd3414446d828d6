"""Alignment and reconstruction: nothing without a second modality, and what they lower with one."""

import torch

from tests.learning import PLAIN, base, copied, examples, trainer


def test_with_collaborative_vectors_alone_alignment_and_reconstruction_change_nothing() -> None:
    frozen = base()
    states = []
    for options in ({}, {"align_weight": 5.0, "recon_weight": 5.0}):
        learner = trainer(frozen, **options)
        learner.learn(examples(frozen), 1)
        states.append(learner.to_bytes())
        assert learner.adapter.second is None
    assert states[0] == states[1]


def test_a_base_with_text_is_aligned_and_rebuilt() -> None:
    text = torch.randn(21, 6, generator=torch.Generator().manual_seed(0))
    text[3] = 0.0
    frozen = base(text)
    data = examples(frozen)
    assert data.e_txt is not None and not data.e_txt[21:].any()
    learner = trainer(frozen, align_weight=1.0, recon_weight=1.0, projector_lr=1e-2, **PLAIN)

    def losses() -> tuple[float, float]:
        assert learner.adapter.second is not None and data.e_txt is not None
        with torch.no_grad():
            z = learner.adapter.item(data.z_base, data.e_cf, data.s_item)
            align, recon = learner.adapter.second.losses(z, data.e_cf, data.e_txt)
        return float(align), float(recon)

    before = losses()
    for slide in range(60):
        learner.learn(data, slide)
    after = losses()
    assert after[0] < 0.7 * before[0]
    assert after[1] < 0.7 * before[1]


def test_the_second_modality_learns_at_its_own_rate() -> None:
    frozen = base(torch.randn(21, 6, generator=torch.Generator().manual_seed(0)))
    learner = trainer(frozen, align_weight=1.0, recon_weight=1.0, projector_lr=0.0, **PLAIN)
    assert learner.adapter.second is not None
    before = copied(learner.adapter.second)
    learner.learn(examples(frozen), 1)
    assert all(torch.equal(before[name], now) for name, now in learner.adapter.second.named_parameters())
    assert learner.adapter.item.w2.weight.any()
