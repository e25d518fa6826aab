"""Mutation testing: does a test fail when a line of the code is wrong?  See ``__main__``."""
