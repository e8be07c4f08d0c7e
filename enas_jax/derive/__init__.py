"""Derive: one arch of many, by their shared weights (ENAS §2.2).

The reference leaves this to the reader of its log. Here archs of the trained
policy, and random ones, are scored alike on the whole validation split. The
best of the policy's by score is derived, or, with `config.derive.by =
"policy"`, the one that the strategy itself holds for the best: the likeliest
choices of a controller, the fittest of an evolved population, nothing but the
score of random search. Where a benchmark is given, what it knows of them
stands beside the scores.

With `config.derive.finalists` that one and its neighbours, which differ in one
choice, so many in all, are trained alone, by `config.derive.config` or, where
it is empty, as the search retrains. The best of them on the validation split
is derived. Shared weights tell bad architectures from good ones, not the best
from good ones, nor what a deeper network needs ("NAS-Bench-201 by shared
weights" in experiments/README.md). It is one step of a local search (White,
Nolen, Savani 2021, arXiv 2005.02960).

Nothing here prints or writes.
"""
