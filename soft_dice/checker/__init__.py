"""Proves or refutes a loss: is its backward the gradient of its forward, and what else is wrong?

``subject`` says what is under test and how inputs are made, ``function`` makes one of a function
in NumPy, and ``findings`` says what comes out.  ``checks`` asks the questions: those of
``gradient``, with the derivatives of ``numeric``, and those of ``behaviour``, each of a ``trial``.
``report`` shows the answers.  Nothing here knows a framework.
"""
