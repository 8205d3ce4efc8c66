"""The work behind `verify.initializer`: draws, tests of two samples, and known distributions."""
