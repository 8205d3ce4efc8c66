"""The parts of the benchmark, each a function of a problem and a number of rounds.

Each returns what goes into the JSON: numbers, and nothing that only a picture needs.
"""
