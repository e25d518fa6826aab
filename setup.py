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
SPEC = importlib.util.spec_from_file_location('build', os.path.join(HERE, NATIVE, 'build.py'))
native = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(native)


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

setup(cmdclass=commands, distclass=WithKernels)
