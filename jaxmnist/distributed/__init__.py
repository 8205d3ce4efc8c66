"""One run on many devices and in many processes."""
