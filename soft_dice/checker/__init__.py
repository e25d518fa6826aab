"""Proves or refutes a loss: is its backward the gradient of its forward, and what else is wrong?

``subject`` says what is under test and how inputs are made, ``asked`` what a user says of them,
``feed`` how they reach the loss, and ``function`` makes a subject of one in NumPy.  ``checks`` asks
the questions, a module for each: ``gradient`` and ``comparison``, with the derivatives of
``numeric``, ``direction``, ``activation``, ``repeat``, ``empty``, ``batch``, ``classes``, ``rare``
and ``shapes``, each of a ``trial``; ``watch`` and ``patience`` keep the time.  ``findings`` says
what comes out, in the ``words`` of a loss's errors, ``report`` shows it, and ``command`` is what
the commands of all frameworks share.  Nothing here knows a framework.
"""
