"""Which releases of MXNet, and which Pythons, this project works on: python -m version_matrix"""
