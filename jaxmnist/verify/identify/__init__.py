"""Recognise an optimizer among the known update rules by its steps, and explain a difference.

`rules` lists the update rules, `probe` runs an optimizer on gradients that tell them apart,
`recurrence` and `fit` find the rule and its numbers, `causes` and `explain` compare two of them.
"""
