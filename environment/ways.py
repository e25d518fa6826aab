"""The two ways to real Caffe, and what each takes from Debian and from PyPI.

    debian    Debian 11's own package of Caffe; it was the last release that had one
    source    Caffe compiled from its source package on PyPI, for Debian 12's Python: MXNet 1.9.1
              needs NumPy 1.23, and no newer Python than this has a wheel of that
"""
from pathlib import Path
from typing import FrozenSet, List, NamedTuple, Tuple

HERE = Path(__file__).resolve().parent
REQUIREMENTS, DATA = HERE / 'requirements.txt', HERE / 'requirements-data.txt'


class Release(NamedTuple):
    """A release of Debian, and what is taken from it."""
    name: str
    number: int
    python: str                  # version of its Python
    glibc: Tuple[int, int]       # that of the machine must not be older
    packages: List[str]
    leave_out: FrozenSet[str]    # dependencies that apt would fetch and that are not wanted
    requirements: List[Path]     # what pip adds


def words(*texts: str) -> FrozenSet[str]:
    return frozenset(word for text in texts for word in text.split())


# Libraries that the machine has newer, as code compiled on it needs them; programs and data that
# nothing here uses.
LEFT_TO_THE_MACHINE = 'libc6 libgcc-s1 libstdc++6 libgomp1'
UNUSED = '''coreutils tar dpkg debconf ucf perl perl-base openssl ca-certificates sensible-utils
    mailcap mime-support media-types tzdata readline-common libjs-jquery libjs-jquery-ui'''

DEBIAN_11 = Release(
    name='bullseye', number=11, python='3.9', glibc=(2, 33),
    # OpenBLAS by name: Caffe is content with any BLAS, and apt's choice is the slow reference one.
    packages=['caffe', 'python3-caffe', 'libopenblas0-pthread', 'python3-pip'],
    leave_out=words(
        LEFT_TO_THE_MACHINE, 'gcc-10-base', UNUSED,
        # requirements.txt brings these in another version, and two versions of one do not mix.
        '''python3-numpy python3-matplotlib python-matplotlib-data fonts-lyx python3-kiwisolver
        python3-cycler python3-pyparsing python3-pygments''',
        # Only Caffe's example scripts import these.
        '''cython3 python3-ipython python3-ipython-genutils python3-backcall python3-jedi
        python3-parso python3-pexpect python3-pickleshare python3-prompt-toolkit python3-ptyprocess
        python3-traitlets python3-wcwidth python3-nose python3-pandas python3-pandas-lib''',
        # More that nothing here uses.
        '''perl-modules-5.32 libperl5.32 mysql-common mariadb-common fontconfig-config
        fonts-dejavu-core ttf-bitstream-vera proj-data gdal-data'''),
    requirements=[REQUIREMENTS, DATA])

DEBIAN_12 = Release(
    name='bookworm', number=12, python='3.11', glibc=(2, 36),
    packages='''python3.11 libpython3.11-dev python3-pip libopenblas-pthread-dev
        libboost-python1.74-dev libboost-thread1.74-dev libboost-filesystem1.74-dev
        libboost-system1.74-dev libboost-regex1.74-dev libgflags-dev libgoogle-glog-dev
        libprotobuf-dev protobuf-compiler libhdf5-dev liblmdb-dev libleveldb-dev
        libsnappy-dev'''.split(),
    leave_out=words(
        LEFT_TO_THE_MACHINE, 'gcc-12-base', UNUSED,
        # The compiler is the machine's, too.
        '''libc6-dev libc-dev-bin linux-libc-dev libcrypt-dev rpcsvc-proto libnsl-dev libtirpc-dev
        libgcc-12-dev libstdc++-12-dev libasan8 liblsan0 libtsan2 libubsan1 libitm1 libatomic1''',
        # Headers and tools of libraries that Caffe does not call itself.
        '''libicu-dev icu-devtools libssl-dev libcurl4-openssl-dev libjpeg-dev libjpeg62-turbo-dev
        libjpeg62-turbo libhdf5-fortran-102 hdf5-helpers libjs-sphinxdoc libjs-underscore
        python3-dev python3.11-dev libpython3-dev'''),
    requirements=[REQUIREMENTS, DATA, HERE / 'requirements-source.txt'])

WAYS = {'debian': DEBIAN_11, 'source': DEBIAN_12}
