"""Speed and memory of the losses against their peers, in one run: python -m benchmarks"""
