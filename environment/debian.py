"""Step 1: Debian's packages, downloaded and verified by apt, unpacked into `.runtime/debian/`."""
import lzma
import os
import re
import shutil
import urllib.parse
from pathlib import Path

from mirror import find_mirror, prepare_apt
from running import Progress, output_of, run, why
from runtime import Problem, Runtime, remove
from ways import DEBIAN_11, Release

# For when the mirrors have a release no more.
OTHER_MIRROR = 'name one that does with `make env DEBIAN_MIRROR=<address>`'
NO_MIRROR = 'take a file of `make env-bundle` with `make env BUNDLE=<file>`'
NO_DEBIAN_11 = 'compile Caffe with `make env CAFFE=source`'


def inputs(runtime: Runtime) -> list:
    """What the step depends on."""
    release = runtime.release
    return [release.name, release.packages, sorted(release.leave_out)]


def build(runtime: Runtime) -> None:
    log, part, apt = runtime.logs / 'debian.log', runtime.root / 'debian.part', runtime.root / 'apt'
    for path in (runtime.debian, part, apt, log):
        remove(path)
    options = prepare_apt(apt, find_mirror(runtime.bundle), runtime.release.name,
                          dates=not runtime.bundle)
    packages = update_list(options, log, runtime)
    unpack(download(runtime, options, packages, log), part, log)
    part.rename(runtime.debian)
    for path in (runtime.downloads, apt):
        remove(path)


def fetch_mirror(runtime: Runtime, folder: Path) -> None:
    """Fill the folder with a mirror that has what `build` asks for, under the same signature."""
    log, apt = runtime.logs / 'bundle-debian.log', runtime.root / 'apt'
    for path in (apt, log):
        remove(path)
    options = prepare_apt(apt, find_mirror(), runtime.release.name, keep=True)
    packages = update_list(options, log, runtime, lambda: keep_list(
        apt / 'state/lists', folder / 'dists' / runtime.release.name))
    places = places_in_mirror(options, packages)
    for file in download(runtime, options, packages, log):
        place = folder / places[file.name]
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)
    for path in (runtime.downloads, apt):
        remove(path)


def keep_list(lists: Path, release: Path) -> None:
    """The mirror's list of packages with its signature; apt reads it faster when unpacked."""
    [signed], [packed] = lists.glob('*_InRelease'), lists.glob('*_Packages.xz')
    (release / 'main/binary-amd64').mkdir(parents=True)
    shutil.copy(str(signed), str(release / 'InRelease'))
    with lzma.open(str(packed)) as source, open(packed.with_suffix(''), 'wb') as target:
        shutil.copyfileobj(source, target)
    packed.rename(release / 'main/binary-amd64/Packages.xz')


def update_list(options: list, log: Path, runtime: Runtime, then=lambda: None) -> list:
    """Have apt read and verify the mirror's list; return what to download."""
    progress, release = Progress('Debian package list'), runtime.release
    if run(['apt-get', *options, 'update'], log, progress, cwd='/') != 0:
        raise Problem(f'{without(runtime)} ({why(log)}; all in {log}).')
    then()
    packages = choose_packages(options, release)
    if not packages:
        raise Problem(f'{without(runtime)} (it lacks {", ".join(release.packages)} or something '
                      'they need).')
    progress.done(f'{len(packages)} packages')
    return packages


def without(runtime: Runtime) -> str:
    """That a release cannot be had, and how to do without."""
    release, ways = runtime.release, [OTHER_MIRROR, NO_MIRROR]
    if runtime.bundle:
        return ('apt does not accept the packages in the bundle as those that Debian signed: '
                'write it anew with `make env-bundle`')
    if release is DEBIAN_11:
        ways.insert(1, NO_DEBIAN_11)
    return (f'The mirror {find_mirror()} does not give Debian {release.number} ({release.name}): '
            f'{", ".join(ways[:-1])}, or {ways[-1]}')


def choose_packages(options: list, release: Release) -> list:
    """name=version of every package that the release's need, less what is left out."""
    plan = output_of(['apt-get', *options, '--simulate', '--no-install-recommends', 'install',
                      *release.packages])
    found = re.findall(r'^Inst (\S+) \((\S+)', plan, re.MULTILINE)
    return sorted(f'{name}={version}' for name, version in found
                  if name not in release.leave_out)


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
        raise Problem((without(runtime) if runtime.bundle else
                       'apt could not download every package: try again, or use another mirror '
                       'with `make env DEBIAN_MIRROR=<address>`') + f' ({why(log)}; all in {log}).')
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
