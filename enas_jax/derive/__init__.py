"""Derives one arch of many by their shared weights (ENAS §2.2).

The reference leaves this to the reader of its log. Here candidates of the
trained policy and random ones are scored alike on the whole validation split.
By default the policy's candidate with the best score is derived. With
`config.derive.by = "policy"` it is the one that the strategy itself holds for
the best: the likeliest choices of a controller, or the fittest of an evolved
population. Random search holds none for the best, so the score decides there.
The likeliest choices need not be typical ones: where each skip connection has a
probability of 0.4, the likeliest arch has none at all, and is a bad one ("A
macro search on its table" in experiments/results/trainings.md). Where a
benchmark is given, the true scores of the candidates stand beside them.

With `config.derive.finalists` that candidate and some of its neighbours, which
differ from it in one choice, are trained alone; the option is their number.
They are trained by `config.derive.config` or, where it is empty, as the search
retrains. The best finalist on the validation split is derived. This is one step
of a local search (White, Nolen, Savani 2021, arXiv 2005.02960). It helps
because shared weights tell bad archs from good ones, but not the best from good
ones, nor do they tell what a deeper network needs ("What are finalists worth?"
in experiments/results/nasbench201.md).

Nothing here prints or writes.
"""
