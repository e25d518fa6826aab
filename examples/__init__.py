"""Small programs to copy from; each runs by itself, and a test runs it."""
