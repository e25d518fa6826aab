"""The files that make `.runtime/` a virtual environment of the unpacked Python: bin/ and others.

build.py's first lines say why bin/python calls the system's dynamic loader by name.
"""
from machine import LOADER
from runtime import Runtime

WRAPPER = '''\
#!/bin/sh
# Written by environment/build.py, whose first lines say why the loader is called by name.
self=$0
if [ -L "$self" ]; then self=$(readlink -f -- "$self"); fi
bin=$(CDPATH='' cd -- "${{self%/*}}" && pwd -P)
debian=${{bin%/bin}}/debian
lib=$debian/usr/lib/x86_64-linux-gnu
libraries=$lib/openblas-pthread:$lib:$debian/lib/x86_64-linux-gnu:$debian/usr/lib
{body}
'''
PYTHON_BODY = ('exec {loader} --library-path "$libraries" --argv0 "$bin/{name}" '
               '"$debian/usr/bin/python{version}" "$@"')
PIP_BODY = 'exec "$bin/python" -m pip "$@"'
# The Python inside the caffe command looks for `python3` in PATH to learn where it belongs.
CAFFE_BODY = '''\
unset PYTHONHOME
export PATH="$bin:$PATH" CAFFE_COMMAND_DEEPBIND=1
exec {loader} --library-path "$libraries" --argv0 "$bin/{name}" "{folder}/{name}" "$@"'''
# Caffe's commands that users are told of.
CAFFE_COMMANDS = ('caffe', 'upgrade_net_proto_text', 'upgrade_net_proto_binary',
                  'upgrade_solver_proto_text')
# The caffe command offers the symbols of its OpenBLAS to everything loaded later, and the other
# OpenBLAS, in NumPy's wheel, crashes on them. With DEEPBIND an extension module prefers the
# libraries that it came with.
DEEPBIND = ("import os, sys; 'CAFFE_COMMAND_DEEPBIND' in os.environ and "
            "sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)\n")


# Where Python finds Caffe that was compiled: a line of a .pth file, seen from its folder.
COMPILED = '../../../caffe/python\n'


def wrappers(runtime: Runtime) -> dict:
    """The programs in bin/, by name."""
    bodies = {'python': PYTHON_BODY, 'python3': PYTHON_BODY, 'pip': PIP_BODY,
              **dict.fromkeys(CAFFE_COMMANDS, CAFFE_BODY)}
    folder = '$debian/usr/bin' if runtime.way == 'debian' else '${bin%/bin}/caffe/bin'
    return {name: WRAPPER.format(body=body.format(loader=LOADER, name=name, folder=folder,
                                                  version=runtime.release.python))
            for name, body in bodies.items()}


def write_environment(runtime: Runtime) -> None:
    """Write pyvenv.cfg, the programs in bin/, and a lib/ that holds DEEPBIND and COMPILED."""
    (runtime.root / 'pyvenv.cfg').write_text(
        f'home = {runtime.debian}/usr/bin\ninclude-system-site-packages = true\n'
        f'version = {runtime.release.python}\n')
    runtime.python.parent.mkdir()
    for name, text in wrappers(runtime).items():
        file = runtime.python.parent / name
        file.write_text(text)
        file.chmod(0o755)
    packages = runtime.root / f'lib/python{runtime.release.python}/site-packages'
    packages.mkdir(parents=True)
    (packages / 'caffe_command.pth').write_text(DEEPBIND)
    if runtime.way == 'source':
        (packages / 'caffe_source.pth').write_text(COMPILED)
