"""What `gluon_dice.gradcheck` works with: any loss as one thing to call, in a child process.

``target`` reads what the user gave and calls it, ``child`` is the process it is called in,
``subject`` shows it to the checks of `soft_dice.checker`, and ``checks`` adds Gluon's own.
"""
