"""`python -m caffe_layers bundle`: the package as one file for Python 2.7 and any Caffe.

``modules`` finds what goes in and takes it apart, ``syntax`` rewrites current Python as Python 2.7,
``names`` gives every name its place in the one file, ``layout`` breaks long lines, ``shim`` holds
what Python 2.7 and NumPy 1.7 lack, ``proof`` is the check that the file runs on itself, and
``command`` puts the file together.
"""
