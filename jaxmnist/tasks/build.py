"""A task."""


def task(): ...
