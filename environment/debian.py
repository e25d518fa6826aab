"""Step 1: Debian's packages, downloaded and verified by apt, unpacked into `.runtime/debian/`."""
import lzma
import os
import re
import shutil
import urllib.parse
from pathlib import Path

from mirror import RELEASE, find_mirror, prepare_apt
from running import Progress, output_of, run, why
from runtime import Problem, Runtime, remove

# OpenBLAS by name: Caffe is content with any BLAS, and apt's choice is the slow reference one.
PACKAGES = ['caffe', 'python3-caffe', 'libopenblas0-pthread', 'python3-pip']

# Dependencies that apt would fetch and that are not wanted.
LEAVE_OUT = {name for names in (
    # Libraries that the machine has newer, as code compiled on it needs them.
    'libc6 libgcc-s1 libstdc++6 libgomp1 gcc-10-base',
    # requirements.txt brings these in another version, and two versions of a package do not mix.
    '''python3-numpy python3-matplotlib python-matplotlib-data fonts-lyx python3-kiwisolver
    python3-cycler python3-pyparsing python3-pygments''',
    # Only Caffe's example scripts import these.
    '''cython3 python3-ipython python3-ipython-genutils python3-backcall python3-jedi python3-parso
    python3-pexpect python3-pickleshare python3-prompt-toolkit python3-ptyprocess
    python3-traitlets python3-wcwidth python3-nose python3-pandas python3-pandas-lib''',
    # Programs and data that nothing here uses.
    '''coreutils tar dpkg debconf ucf perl perl-base perl-modules-5.32 libperl5.32 openssl
    ca-certificates sensible-utils mailcap mime-support media-types tzdata readline-common
    mysql-common mariadb-common libjs-jquery libjs-jquery-ui fontconfig-config fonts-dejavu-core
    ttf-bitstream-vera proj-data gdal-data''') for name in names.split()}


# Debian 11 may leave the mirrors.
OTHER_WAYS = ('name one that does with `make env DEBIAN_MIRROR=<address>`, compile Caffe with `make env '
              'CAFFE=source`, or take a file of `make env-bundle` with `make env BUNDLE=<file>`')


def inputs() -> list:
    """What the step depends on."""
    return [RELEASE, PACKAGES, sorted(LEAVE_OUT)]


def build(runtime: Runtime) -> None:
    log, part, apt = runtime.logs / 'debian.log', runtime.root / 'debian.part', runtime.root / 'apt'
    for path in (runtime.debian, part, apt, log):
        remove(path)
    mirror = find_mirror(runtime.bundle)
    options = prepare_apt(apt, mirror, dates=not runtime.bundle)
    packages = update_list(options, log, mirror)
    unpack(download(runtime, options, packages, log), part, log)
    part.rename(runtime.debian)
    for path in (runtime.downloads, apt):
        remove(path)


def fetch_mirror(runtime: Runtime, folder: Path) -> None:
    """Fill the folder with a mirror that has what `build` asks for, under the same signature."""
    log, apt = runtime.logs / 'bundle-debian.log', runtime.root / 'apt'
    for path in (apt, log):
        remove(path)
    mirror = find_mirror()
    options = prepare_apt(apt, mirror, keep=True)
    packages = update_list(options, log, mirror, lambda: keep_list(apt / 'state/lists', folder))
    places = places_in_mirror(options, packages)
    for file in download(runtime, options, packages, log):
        place = folder / places[file.name]
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)
    for path in (runtime.downloads, apt):
        remove(path)


def keep_list(lists: Path, mirror: Path) -> None:
    """The mirror's list of packages with its signature; apt reads it faster when unpacked."""
    release = mirror / 'dists' / RELEASE
    [signed], [packed] = lists.glob('*_InRelease'), lists.glob('*_Packages.xz')
    (release / 'main/binary-amd64').mkdir(parents=True)
    shutil.copy(str(signed), str(release / 'InRelease'))
    with lzma.open(str(packed)) as source, open(packed.with_suffix(''), 'wb') as target:
        shutil.copyfileobj(source, target)
    packed.rename(release / 'main/binary-amd64/Packages.xz')


def update_list(options: list, log: Path, mirror: str, then=lambda: None) -> list:
    """Have apt read and verify the mirror's list; return what to download."""
    progress = Progress('Debian package list')
    if run(['apt-get', *options, 'update'], log, progress, cwd='/') != 0:
        raise Problem(f'The mirror {mirror} does not give Debian 11 ({RELEASE}): {OTHER_WAYS} '
                      f'({why(log)}; all in {log}).')
    then()
    packages = choose_packages(options)
    if not packages:
        raise Problem(f'The mirror {mirror} lacks {", ".join(PACKAGES)} or something they need: '
                      f'{OTHER_WAYS}.')
    progress.done(f'{len(packages)} packages')
    return packages


def choose_packages(options: list) -> list:
    """name=version of every package that PACKAGES need, less LEAVE_OUT."""
    plan = output_of(['apt-get', *options, '--simulate', '--no-install-recommends', 'install',
                      *PACKAGES])
    found = re.findall(r'^Inst (\S+) \((\S+)', plan, re.MULTILINE)
    return sorted(f'{name}={version}' for name, version in found if name not in LEAVE_OUT)


def places_in_mirror(options: list, packages: list) -> dict:
    """Where a mirror has the file that apt gives a name, for each package."""
    plan = output_of(['apt-get', *options, '--print-uris', 'download', *packages])
    return {name: urllib.parse.unquote(place) for place, name
            in re.findall(r"^'[^']*/(pool/[^']*)' (\S+) \d+", plan, re.MULTILINE)}


def download(runtime: Runtime, options: list, packages: list, log: Path) -> list:
    """Fetch packages into downloads/. apt verifies them all, also those left by an earlier run."""
    progress = Progress('Debian download')
    runtime.downloads.mkdir(exist_ok=True)
    # In its folder, because apt leaves out what is already there and whole.
    plan = output_of(['apt-get', *options, '--print-uris', 'download', *packages],
                     runtime.downloads)
    missing = sum(int(size) for size in re.findall(r"^'[^']*' \S+ (\d+)", plan, re.MULTILINE))

    def size() -> int:
        try:
            return sum(entry.stat().st_size for entry in os.scandir(runtime.downloads))
        except FileNotFoundError:  # apt has just renamed or removed one
            return 0

    total = size() + missing
    if run(['apt-get', *options, 'download', *packages], log, progress,
           lambda: f'{size() / 1e6:.0f} of {total / 1e6:.0f} MB', cwd=runtime.downloads) != 0:
        raise Problem('apt could not download every package: try again, or use another mirror with '
                      f'`make env DEBIAN_MIRROR=<address>` ({why(log)}; all in {log}).')
    progress.done(f'{total / 1e6:.0f} MB')
    wanted = {package.replace('=', '_').replace(':', '%3a') for package in packages}
    return [file for file in runtime.downloads.glob('*.deb')
            if file.name.rpartition('_')[0] in wanted]


def unpack(files: list, folder: Path, log: Path) -> None:
    progress = Progress('Debian unpacking')
    for number, file in enumerate(files, start=1):
        progress.update(f'{number} of {len(files)} packages')
        command = ['dpkg-deb', '--extract', file, folder]
        if run(command, log, progress, lambda: file.name.split('_')[0]) != 0:
            raise Problem(f'{file.name} cannot be unpacked ({why(log)}; all in {log}).')
    progress.done(f'{len(files)} packages')
