"""The distribution of slates without replacement: a softmax over the items, renewed over those that are left.

    log pi(s_1 ... s_K) = sum_k l(s_k) - log S_k,   S_k = sum of exp l over what is offered, less s_1 ... s_(k-1)

S_k is the sum over what the whole slate leaves, R, and over s_k ... s_K, added last first: no difference is taken. Its
logarithm is kept as a level, the largest logit in it, and what exceeds that: logits of 1e4 cost no precision.

Source: Luce 1959; Plackett 1975. Samples by Gumbel top-K: Kool et al. 2019, arXiv:1903.06059. The sampled softmax with
its correction by the proposal: Bengio and Senecal 2008; here the slate's own items are exact and only R is estimated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Final, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from agents.distributions.slate_samples import entropy_of_samples
from agents.nn.slates import EMPTY, without_copies

NEVER: Final = -1e30  # in place of -inf where gradients pass: no difference of two of them is NaN
_ENTROPY_SLATES: Final = 4


def _split_weights(logits: Tensor, taken: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return what `split` does, the weights of all else relative to the largest, and their sum."""
    table = logits.expand(*taken.shape[:-1], logits.shape[-1])
    weights = table.scatter(-1, taken, -torch.inf)
    # Log-sum-exp's shift; at least -1e30, for -inf less -inf is NaN.
    level = weights.detach().amax(-1, keepdim=True).clamp_min(NEVER)
    # Base 2: PyTorch's exp2 takes a third of the time of its exp. One copy of the table, worked on in place.
    weights.sub_(level).mul_(math.log2(math.e)).exp2_()
    # Where nothing is left: a finite log, and no division by zero backwards.
    total = weights.sum(-1, keepdim=True).clamp_min(torch.finfo(logits.dtype).tiny)
    return table.gather(-1, taken), total.log().squeeze(-1), level.squeeze(-1), weights, total


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, taken: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        own, rest, level, weights, total = _split_weights(logits, taken)
        ctx.save_for_backward(logits, taken, weights, total)
        ctx.mark_non_differentiable(level)
        return own, rest, level

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        logits, taken, weights, total = ctx.saved_tensors
        if torch.is_grad_enabled():  # asked for a second derivative
            return torch.autograd.grad(_split_weights(logits, taken)[:2], logits, grads[:2], create_graph=True)[0], None
        grad = weights * (grads[1].unsqueeze(-1) / total)
        return grad.scatter_add_(-1, taken, grads[0]).sum_to_size(logits.shape), None


def split(logits: Tensor, taken: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits of what is taken [..., K], and of all else the log of the sum of exp, less a level, and that.

    Both are [...]; the level is the largest logit, and a constant to gradients: the sum's gradient is in the other.
    Where nothing else is left, it is -1e30: a difference to itself is no NaN.

    Args:
        logits: [..., N] float32 or float64, -inf for what counts nothing; leading dimensions broadcast.
        taken: [..., K] integers in [0, N).
    """
    # A compiler derives the same gradient of the operations themselves; by hand, one pass instead of six.
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return _split_weights(logits, taken)[:3]
    return _Split.apply(logits, taken)  # type: ignore[return-value]


def _tail_sums(own: Tensor, rest: Tensor, falls: Tensor) -> Tensor:
    sums, running = [], rest
    for logit, fall in zip(reversed(own.unbind(0)), reversed(falls.unbind(0)), strict=True):
        running = torch.logaddexp(running + fall, logit)
        sums.append(running)
    return torch.stack(sums[::-1])


class _TailLogSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, rest: Tensor, falls: Tensor) -> Tensor:
        sums = _tail_sums(own, rest, falls)
        ctx.save_for_backward(own, rest, falls, sums)
        return sums

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        own, rest, falls, sums = ctx.saved_tensors
        if torch.is_grad_enabled():
            found = torch.autograd.grad(_tail_sums(own, rest, falls), (own, rest), grads, create_graph=True)
            return found[0], found[1], None
        # With a_k = sum over j <= k of g_j exp(S_k - S_j): a_k = g_k + a_(k-1) exp(S_k - S_(k-1)), factors below one.
        shares = (sums[1:] + falls[:-1] - sums[:-1]).exp()
        flows = [grads[0][0]]
        for grad, share in zip(grads[0][1:].unbind(0), shares.unbind(0), strict=True):
            flows.append(torch.addcmul(grad, flows[-1], share))
        return torch.stack(flows) * (own - sums).exp(), flows[-1] * (rest + falls[-1] - sums[-1]).exp(), None


def tail_log_sums(own: Tensor, rest: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Return log S_k = log(exp(level + rest) + exp(own_k) + ... + exp(own_K)), less levels, and these, [K, ...] each.

    The levels are the largest in each sum, and constants to gradients.

    Args:
        own: [K, ...] finite.
        rest: [...] finite.
        level: [...] finite.
    """
    levels = [level]
    for logit in reversed(own.detach().unbind(0)):
        levels.append(torch.maximum(levels[-1], logit))
    steps = torch.stack(levels[::-1])
    falls, levels = steps[1:] - steps[:-1], steps[:-1]
    function = _tail_sums if torch.compiler.is_compiling() or not torch.is_grad_enabled() else _TailLogSums.apply
    return function(own - levels, rest, falls), levels  # type: ignore[return-value]


class _Terms(NamedTuple):
    """Of slates."""

    own: Tensor
    """[K, ..., B] logits of the items; about -1e30 of what is not offered and of empty positions."""
    sums: Tensor
    """[K, ..., B] log S_k, less levels."""
    levels: Tensor
    """[K, ..., B], constants."""
    rest: Tensor
    """[..., B] log R, less its level."""
    level: Tensor
    """[..., B], a constant."""
    columns: Tensor
    """[..., B, K] int64, where the items stand in the table."""
    counted: Tensor
    """[K, ..., B] bool, all but empty positions."""
    possible: Tensor
    """[..., B] bool, whether the slate has a chance."""

    def apart(self) -> Tensor:
        """Return log S_k - log R, [K, ..., B]."""
        return (self.levels - self.level) + (self.sums - self.rest)


class PlackettLuce(Distribution):
    """Slates of K different items, each drawn by a softmax over those that are left.

    A slate that repeats an item, or has one that is not offered, has log-probability -inf and no gradient. Of one that
    has empty positions, -1 or copies at its end, what counts are the items; see `agents.nn.slates`.

    Where fewer than K items are offered, no whole slate has a chance. Samples and the mode then begin with all of them
    and end in others, or in the padding -1 of candidates; of fewer than K columns they have no more items than columns.

    Args:
        logits: [B, N], or [B, C] of the candidates; -inf for what is not offered. NaN makes log-probabilities NaN.
        items: [B, C] ids of the candidates, different ones, -1 for padding; None where the columns are the ids.
        slate_size: K.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    logits: Tensor

    def __init__(self, logits: Tensor, items: Tensor | None = None, *, slate_size: int) -> None:
        logits = widened(logits)
        self.items = items
        self.logits = logits if items is None else logits.masked_fill(items < 0, -torch.inf)
        self.slate_size = slate_size
        super().__init__(logits.shape[:-1], torch.Size([slate_size]), validate_args=False)

    # --- where logits come from

    def _tables(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield exact logits [B, n] and ids, [n] or [B, n], which ascend: over all tables, everything once."""
        if self.items is None:
            yield self.logits, torch.arange(self.logits.shape[-1], device=self.logits.device)
        else:
            ids, order = self.items.long().sort(-1)
            yield self.logits.gather(-1, order), ids

    def _split(self, slate: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what `split` does, -1e30 for items that are not offered, and the items' columns.

        Args:
            slate: [..., B, K] int64, as is what is returned of its items.
        """
        if self.items is None:
            size = self.logits.shape[-1]
            known, columns = slate == slate.clamp(0, size - 1), slate
        else:
            match = (slate.unsqueeze(-1) == self.items.unsqueeze(-2)) & (slate >= 0).unsqueeze(-1)
            size = match.shape[-1]
            columns = match.to(torch.int8).argmax(-1)
            known = match.any(-1)
        # What is not known takes out the slate's first item once more; if that is not known either, all is -inf.
        columns = torch.where(known, columns, columns[..., :1].clamp(0, size - 1))
        own, rest, level = split(self.logits, columns)
        # NaN stays NaN.
        return torch.where(known & (own != -torch.inf), own, NEVER), rest, level, columns

    def _rest(self, columns: Tensor) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        """Yield logits [B, n], what their weights in R fall short of them [n], and the slate's columns [..., B, K]."""
        yield self.logits, None, columns

    def _detached_tables(self) -> Iterator[tuple[Tensor, Tensor]]:
        with torch.no_grad():  # not as a decorator, which Dynamo does not trace
            yield from self._tables()

    # --- what a distribution is asked

    def _terms(self, slate: Tensor) -> _Terms:
        empty = slate == EMPTY
        # An empty position takes out an item of the slate once more, which takes out nothing.
        own, rest, level, columns = self._split(torch.where(empty, slate.amax(-1, keepdim=True), slate))
        items = slate.sort(dim=-1).values
        repeats = (items[..., 1:] == items[..., :-1]) & (items[..., 1:] != EMPTY)
        possible = ~((own <= 0.5 * NEVER) & ~empty).any(-1) & ~repeats.any(-1)
        own = torch.where(empty, NEVER, own).movedim(-1, 0).contiguous()
        sums, levels = tail_log_sums(own, rest, level)
        return _Terms(own, sums, levels, rest, level, columns, ~empty.movedim(-1, 0), possible)

    def _shares(self, terms: _Terms) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield logs of shares in R, -inf for what is taken, and logits less log R, [..., B, n] each."""
        for logits, correction, taken in self._rest(terms.columns):
            weights = logits - terms.level.unsqueeze(-1)
            weights = weights if correction is None else weights - correction
            left = weights.scatter(-1, taken, -torch.inf) - terms.rest.unsqueeze(-1)
            yield left, left if correction is None else left + correction.nan_to_num(posinf=0.0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of whole slates, [..., B] nats.

        Args:
            value: [..., B, K] integers.
        """
        terms = self._terms(without_copies(value.long()))
        steps = torch.where(terms.counted, (terms.own - terms.levels) - terms.sums, 0.0)
        return torch.where(terms.possible, steps.sum(0), -torch.inf)

    def prefix_log_prob(self, slate: Tensor) -> Tensor:
        """Return the log-probabilities of the first 1, 2, ... K items of slates, [..., B, K] nats.

        Args:
            slate: [..., B, K] integers.
        """
        slate = without_copies(slate.long())
        items, order = slate.sort(dim=-1, stable=True)
        again = torch.nn.functional.pad(items[..., 1:] == items[..., :-1], (1, 0))
        again = torch.zeros_like(again).scatter(-1, order, again).movedim(-1, 0)
        terms = self._terms(slate)
        # A later copy was added to the sums before it: here it counts nothing.
        own = torch.where(again, NEVER, terms.own)
        sums, levels = tail_log_sums(own, terms.rest, terms.level)
        possible = (~(own <= 0.5 * NEVER) | ~terms.counted).cumprod(0) > 0
        steps = torch.where(terms.counted, (own - levels) - sums, 0.0)
        return torch.where(possible, steps.cumsum(0), -torch.inf).movedim(0, -1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return slates by Gumbel top-K, from the global generator, [*sample_shape, B, K] int64."""
        found = []
        for logits, ids in self._detached_tables():
            shape = torch.Size(sample_shape) + logits.shape
            noise = torch.empty(shape, dtype=logits.dtype, device=logits.device).exponential_()
            keys = logits - noise.clamp_min_(torch.finfo(logits.dtype).tiny).log_()
            values, columns = keys.topk(min(self.slate_size, keys.shape[-1]), dim=-1)
            found.append((values, ids.expand(shape).gather(-1, columns)))
        return _best(found, self.slate_size)

    @property
    def mode(self) -> Tensor:
        """The K items of the largest logits, the lower id first among equals, [B, K] int64."""
        found = []
        for logits, ids in self._detached_tables():
            width = logits.shape[-1]
            size = min(self.slate_size, width)
            least = logits.topk(size, dim=-1).values[..., -1:]
            above, level = logits > least, logits == least
            # Of those that equal the least that is chosen, the first ones, until there are enough.
            chosen = above | (level & (level.cumsum(-1) <= size - above.sum(-1, keepdim=True)))
            columns = torch.where(chosen, torch.arange(width, device=logits.device), width)
            columns = columns.topk(size, dim=-1, largest=False, sorted=True).values.clamp_max(width - 1)
            found.append((logits.gather(-1, columns), ids.expand(logits.shape).gather(-1, columns)))
        return _best(found, self.slate_size)

    @property
    def deterministic_sample(self) -> Tensor:
        """The mode, by the name under which TorchRL asks for it."""
        return self.mode

    def entropy(self) -> Tensor:
        """Return the entropy, [B] nats: a mean over four sampled slates of the summed entropies of their positions.

        It is unbiased, and so is its gradient, which follows the sampled items too; for K = 1 both are exact.
        """
        slates = self.sample((_ENTROPY_SLATES if self.slate_size > 1 else 1,))
        terms = self._terms(slates)
        own, sums, levels = terms.own, terms.sums, terms.levels
        spread = torch.zeros_like(terms.rest)
        for shares, logits in self._shares(terms):
            # Where the clamp acts, the share is zero.
            spread = spread - (shares.clamp_min(-200.0).exp() * logits.clamp_min(-200.0)).sum(-1)
        # Of position k: what is left as a whole, and the slate's own items from k on.
        apart = terms.apart()
        by_rest = (-apart).exp() * (spread + apart)
        surprise = [sums[k] + (levels[k] - own[k:]) for k in range(len(own))]
        by_own = torch.stack([((-values).exp() * values).sum(0) for values in surprise])
        return entropy_of_samples((by_rest + by_own).movedim(0, -1), (own - levels - sums).movedim(0, -1))

    def score_function_norm(self, action: Tensor) -> Tensor:
        """Return the norm of the gradient of log pi(a | s) in all logits, [..., B]; zero for an impossible slate.

        Args:
            action: [..., B, K] integers.
        """
        terms = self._terms(without_copies(action.long()))
        own, sums, levels, counted = terms.own, terms.sums, terms.levels, terms.counted
        square = torch.zeros_like(terms.rest)
        for shares, logits in self._shares(terms):
            # A sample's correction can lift a weight without bound: e^50 keeps the square finite in float32.
            square = square + (shares.exp() * logits.clamp_max(50.0).exp()).sum(-1)
        by_rest = square * torch.where(counted, (-terms.apart()).exp(), 0.0).sum(0).square()
        # Of item j: one, less its probability at each position up to its own.
        chances = torch.stack(
            [
                (own[j] - levels[: j + 1] - sums[: j + 1]).exp().masked_fill(~counted[: j + 1], 0.0).sum(0)
                for j in range(len(own))
            ]
        )
        norm = (by_rest + torch.where(counted, 1.0 - chances, 0.0).square().sum(0)).sqrt()
        return torch.where(terms.possible, norm, 0.0)

    def table(self, num_items: int) -> Tensor:
        """Return the exact logits of all items, [B, N], -inf for those not offered.

        Args:
            num_items: N.
        """
        tables = [(logits, ids.remainder(num_items + 1).expand(logits.shape)) for logits, ids in self._tables()]
        # The last column takes the padding.
        out = tables[0][0].new_full((*self.batch_shape, num_items + 1), -torch.inf)
        for logits, ids in tables:
            out = out.scatter(-1, ids, logits)
        return out[..., :-1]


def widened(values: Tensor) -> Tensor:
    """Return values in float32, or in float64 if that is what they are."""
    return values if values.dtype == torch.float64 else values.float()


def _best(found: list[tuple[Tensor, Tensor]], size: int) -> Tensor:
    """Return the ids of the largest values, the first among equals, [..., K].

    Args:
        found: values and ids of several tables, [..., n] each.
        size: K.
    """
    values, ids = (torch.cat(parts, dim=-1) for parts in zip(*found, strict=True))
    return ids.gather(-1, values.sort(dim=-1, descending=True, stable=True).indices[..., :size])
