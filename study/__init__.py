"""Which loss to train with, and what a wrong one costs: python -m study"""
