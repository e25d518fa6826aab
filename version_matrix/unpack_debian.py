"""python unpack_debian.py FOLDER PACKAGE...: packages of Debian 11, verified by apt, unpacked into
the folder, without what they depend on.  It says in one line why, where it cannot.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'environment'))

from debian import download, unpack  # type: ignore[import-not-found]  # noqa: E402
from mirror import find_mirror, prepare_apt  # type: ignore[import-not-found]  # noqa: E402
from running import Progress, run, why  # type: ignore[import-not-found]  # noqa: E402
from runtime import Problem, Runtime, remove  # type: ignore[import-not-found]  # noqa: E402
from ways import DEBIAN_11  # type: ignore[import-not-found]  # noqa: E402


def main(folder: Path, packages: list) -> None:
    place = Runtime(folder)
    remove(place.root)
    place.root.mkdir(parents=True)
    log = place.logs / 'debian.log'
    options = prepare_apt(place.root / 'apt', find_mirror(), DEBIAN_11.name)
    if run(['apt-get', *options, 'update'], log, Progress('Debian package list'), cwd='/') != 0:
        raise Problem(f'apt cannot read Debian 11: {why(log)}')
    download(place, options, packages, log)
    unpack(sorted(place.downloads.glob('*.deb')), folder, log)
    remove(place.root)


if __name__ == '__main__':
    try:
        main(Path(sys.argv[1]).resolve(), sys.argv[2:])
    except Problem as problem:
        sys.exit(str(problem))
