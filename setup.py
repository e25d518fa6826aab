"""setup.cfg says what this package is.  Here its kernels are compiled, where that can be done."""
import importlib.util
import os
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_ext import build_ext

try:
    from setuptools.command.bdist_wheel import bdist_wheel  # as of setuptools 70
except ImportError:
    try:
        from wheel.bdist_wheel import bdist_wheel
    except ImportError:  # then nothing here can make a wheel
        bdist_wheel = None

HERE = os.path.dirname(os.path.abspath(__file__))
NATIVE = os.path.join('soft_dice', 'native')


def module_at(*path):
    """A module by its path: nothing that the package needs is installed yet."""
    spec = importlib.util.spec_from_file_location(path[-1], os.path.join(HERE, *path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


native = module_at(NATIVE, 'build.py')


class BuildKernels(build_ext):
    """The kernels instead of extension modules; without a compiler the package works without."""

    def run(self):
        target = Path(HERE if self.inplace else self.build_lib) / NATIVE / '_kernels.so'
        try:
            native.build_kernels(target)
        except native.BuildError as error:
            print(f'The kernels of soft_dice are left out: {error}. What they do is slower without '
                  f'them; `{native.HOW_TO_BUILD}` builds them later.')
        lock = target.with_suffix('.lock')
        if not self.inplace and lock.exists():
            lock.unlink()  # nothing to install

    def get_source_files(self):
        return []  # package_data lists them

    def get_outputs(self):
        return []

    def get_output_mapping(self):
        return {}


class WithKernels(Distribution):
    """Tells setuptools that what it builds is for this kind of machine."""

    def has_ext_modules(self):
        return True


commands = {'build_ext': BuildKernels}
if bdist_wheel:
    class Wheel(bdist_wheel):
        """For every Python 3 on this kind of machine, as ctypes loads the kernels."""

        def get_tag(self):
            return 'py3', 'none', super().get_tag()[2]

    commands['bdist_wheel'] = Wheel

# Before 46.4 setuptools imports the package for "version = attr:" in setup.cfg, and NumPy with it.
setup(version=module_at('soft_dice', 'version.py').__version__, cmdclass=commands,
      distclass=WithKernels)
