"""Losses in probability ratios: bounds, what reduces to what, and what changes nothing."""

from __future__ import annotations

from typing import Final

from recsession.experiments.theory.claims.base import Claim

_FILE: Final = "tests/agents/objectives/test_loss_claims.py"
_TEST: Final = f"{_FILE}::test_theory_holds[{{}}]"
_GBPO: Final = ("GBPO, arXiv:2508.20900", "the loss")
_GSPO: Final = ("GSPO, arXiv:2507.18071", "the sequence ratio")
_SAGE: Final = ("SAGE, arXiv:2601.21452", "the loss")

CLAIMS: Final = (
    Claim(
        "gbpo-gradient-in-the-logits",
        "GBPO's gradient in the logits is at most sqrt 2 |A| (1 - pi) where A >= 0, and sqrt 2 |A| pi where A < 0.",
        *_GBPO,
        "holds",
        _TEST.format("gbpo_gradient_in_the_logits"),
    ),
    Claim(
        "gbpo-coefficient-is-bounded",
        "GBPO's coefficient of grad log pi is at most |A|, without clipping.",
        *_GBPO,
        "holds if",
        _TEST.format("gbpo_coefficient"),
        "A >= 0; for A < 0 it is at most |A| / pi_old: pi = .9 and pi_old = .1 give 9 |A|.",
    ),
    Claim(
        "topr-of-ones-is-cloning",
        "TOPR with all rewards 1 is cloning, and with rewards >= 0 cloning weighted by them.",
        "TOPR, arXiv:2503.14286",
        "the loss",
        "holds",
        _TEST.format("topr_of_rewards_of_one_is_cloning"),
    ),
    Claim(
        "gspo-of-one-token-is-ppo",
        "GSPO of sequences of one token is PPO-clip.",
        *_GSPO,
        "holds",
        _TEST.format("gspo_of_one_token_is_ppo_clip"),
    ),
    Claim(
        "sage-without-its-parts-is-gspo",
        "SAGE with boost 0 and without the entropy term is GSPO.",
        *_SAGE,
        "holds",
        _TEST.format("sage_without_its_parts_is_gspo"),
    ),
    Claim(
        "ppo-of-weights-is-cloning-at-home",
        "PPO-clip with A = w >= 0 is -w min(r, 1 + eps); its gradient is that of weighted cloning at the reference, "
        "and nowhere else.",
        "PPO, arXiv:1707.06347",
        "the loss",
        "holds",
        _TEST.format("ppo_clip_of_weights_is_cloning_at_home"),
    ),
    Claim(
        "gspo-of-a-repeated-sequence",
        "A sequence repeated k times has the same GSPO loss and gradient.",
        *_GSPO,
        "holds",
        _TEST.format("gspo_of_a_repeated_sequence"),
    ),
    Claim(
        "gspo-of-a-padded-sequence",
        "Masked padding changes neither GSPO's loss nor its gradient.",
        *_GSPO,
        "holds",
        _TEST.format("gspo_of_a_padded_sequence"),
    ),
    Claim(
        "grpo-is-invariant",
        "GRPO's advantage is invariant to alpha R + beta in each group, alpha > 0.",
        "GRPO, arXiv:2402.03300",
        "the advantage",
        "holds if",
        _TEST.format("grpo_is_invariant"),
        "nothing is added to the deviation; an offset o costs a relative error of at most o / min(std, alpha std).",
    ),
    Claim(
        "sage-is-invariant",
        "SAGE's decoupled advantage is invariant to alpha_m R_m + beta_m of each component in each group.",
        "GDPO, arXiv:2601.05242",
        "the advantage",
        "holds if",
        _TEST.format("sage_is_invariant"),
        "nothing is added to the deviations.",
    ),
)
