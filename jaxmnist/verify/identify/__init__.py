"""Recognise an optimizer among the known update rules by its steps, and explain a difference.

`rules` and `specs` list the update rules, `kernels` and `rare_kernels` are their recurrences, and
`before` is what may come before them: clipping and accumulation. `probe` runs an optimizer on
gradients that tell them apart, `recurrence`, `fit` and `recognise` find the rule and its numbers;
`alike`, `causes`, `single` and `explain` compare two of them. `shapes` and `curves` do the same for
learning rates.
"""
