#!/usr/bin/env python3
"""Builds `.runtime/`: real Caffe and real MXNet in one Python, without root.

The last Debian that packages Caffe is 11 (bullseye). Its packages are downloaded and verified by
the machine's own apt, into folders of this project, and unpacked there; nothing is installed on
the machine. pip then adds MXNet and the rest from PyPI. `.runtime/` holds afterwards

    bin/python, bin/pip, bin/caffe    what to run
    debian/                           Debian's packages, unpacked
    lib/                              what pip installed
    downloads/, logs/, stamps/, lock  this program's own

`.runtime/` is a virtual environment whose base is the unpacked Python 3.9. bin/python hands that
Python to the system's dynamic loader together with the folders of its libraries. LD_LIBRARY_PATH
and PYTHONHOME would do as well, but every program started from that Python, a compiler for
instance, would inherit them.

The work is cut into steps. Each one has a key, the hash of everything it depends on, which is
written to `.runtime/stamps/` when the step is done. A step whose stamp is missing or different,
because it was interrupted or because something changed, is done again from nothing, and so are
the steps after it.
"""
import argparse
import configparser
import ctypes
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RELEASE = 'bullseye'
KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'
LOADER = '/lib64/ld-linux-x86-64.so.2'

# OpenBLAS by name: Caffe is content with any BLAS, and apt's choice is the slow reference one.
PACKAGES = ['caffe', 'python3-caffe', 'libopenblas0-pthread', 'python3-pip']

# Dependencies that apt would fetch and that are not wanted.
LEAVE_OUT = set('''
    libc6 libgcc-s1 libstdc++6 libgomp1 gcc-10-base

    python3-numpy python3-matplotlib python-matplotlib-data fonts-lyx python3-kiwisolver
    python3-cycler python3-pyparsing python3-pygments

    cython3 python3-ipython python3-ipython-genutils python3-backcall python3-jedi python3-parso
    python3-pexpect python3-pickleshare python3-prompt-toolkit python3-ptyprocess
    python3-traitlets python3-wcwidth python3-nose python3-pandas python3-pandas-lib

    coreutils tar dpkg debconf ucf perl perl-base perl-modules-5.32 libperl5.32 openssl
    ca-certificates sensible-utils mailcap mime-support media-types tzdata readline-common
    mysql-common mariadb-common libjs-jquery libjs-jquery-ui fontconfig-config fonts-dejavu-core
    ttf-bitstream-vera proj-data gdal-data
'''.split())
# The four groups: libraries that the machine has newer, as code compiled on it needs them; what
# requirements.txt brings in another version, because two versions of a package do not mix; what
# only Caffe's example scripts import; programs and data that nothing here uses.

REQUIREMENTS = HERE / 'requirements.txt'
DATA_REQUIREMENTS = HERE / 'requirements-data.txt'
PROOF = HERE / 'proof.py'
NATIVE = Path('soft_dice/native')

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
PYTHON_BODY = '''\
exec {loader} --library-path "$libraries" --argv0 "$bin/{name}" "$debian/usr/bin/python3.9" "$@"'''
PIP_BODY = 'exec "$bin/python" -m pip "$@"'
# The Python inside the caffe command looks for `python3` in PATH to learn where it belongs.
CAFFE_BODY = '''\
unset PYTHONHOME
export PATH="$bin:$PATH" CAFFE_COMMAND_DEEPBIND=1
exec {loader} --library-path "$libraries" --argv0 "$bin/caffe" "$debian/usr/bin/caffe" "$@"'''
# The caffe command offers the symbols of its OpenBLAS to everything loaded later, and the other
# OpenBLAS, in NumPy's wheel, crashes on them. With DEEPBIND an extension module prefers the
# libraries that it came with.
DEEPBIND = ("import os, sys; 'CAFFE_COMMAND_DEEPBIND' in os.environ and "
            "sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)\n")

APT_CONF = '''\
# Read after the machine's own apt configuration: its proxy settings hold, and these lines win.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::Languages;
Acquire::Languages "none";
Acquire::GzipIndexes "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any";
APT::Sandbox::User "root";
#clear APT::Architectures;
APT::Architecture "amd64";
APT::Architectures "amd64";
#clear APT::Default-Release;
Dir::State "{apt}/state";
Dir::State::status "{apt}/status";
Dir::Cache "{apt}/cache";
Dir::Cache::archives "archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "{apt}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Log "{apt}";
'''


class Problem(Exception):
    """What the user is told, in one sentence, when the runtime cannot be built."""


class Runtime:
    """Where everything is."""

    def __init__(self, project: Path) -> None:
        self.project = project.resolve()
        self.root = self.project / '.runtime'
        self.debian = self.root / 'debian'
        self.python = self.root / 'bin/python'
        self.downloads = self.root / 'downloads'
        self.logs = self.root / 'logs'
        self.stamps = self.root / 'stamps'
        self.lock = self.root / 'lock'


# ---- saying what happens ----

class Progress:
    """One line per step; on a terminal the line of a running step keeps counting."""

    interval = 0.2 if sys.stdout.isatty() else 15.0

    def __init__(self, label: str) -> None:
        self.label = label
        self.start = self.shown = time.monotonic()

    def text(self, detail: str) -> str:
        return f'{self.label:<22}{detail:<50}{time.monotonic() - self.start:5.0f} s'

    def update(self, detail: str) -> None:
        now = time.monotonic()
        if now - self.shown < self.interval:
            return
        self.shown = now
        if sys.stdout.isatty():
            print('\r' + self.text(detail), end='', flush=True)
        else:
            print(self.text(detail), flush=True)

    def done(self, detail: str) -> None:
        print(('\r' if sys.stdout.isatty() else '') + self.text(detail), flush=True)


def run(command, log: Path, progress: Progress, detail=lambda: '...', **options) -> int:
    """Run a command with its output in a log, counting on; return its exit code.

    The command inherits the lock: should this process be killed, the lock stays taken until the
    command has ended too, and the next run does not meet it at work.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'ab') as output:
        process = subprocess.Popen(
            [str(word) for word in command], close_fds=False, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, **options)
        try:
            while True:
                try:
                    return process.wait(timeout=0.1)
                except subprocess.TimeoutExpired:
                    progress.update(detail())
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


def output_of(command: list, folder='/') -> str:
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, universal_newlines=True, cwd=folder,
                          env=dict(os.environ, LC_ALL='C')).stdout


def why(log: Path) -> str:
    """The line of a log that says most about a failure: the first error, else the last line."""
    lines = [line.strip() for line in log.read_text(errors='replace').splitlines() if line.strip()]
    pattern = r'E: |ERROR|dpkg[-a-z]*: error|\w*Error: '
    errors = [line for line in lines if re.match(pattern, line)]
    return (errors[:1] or lines[-1:] or ['it said nothing'])[0].rstrip('.')


def clean_environment() -> dict:
    """The environment without what would lead Python or pip to other folders."""
    redirecting = {'PIP_TARGET', 'PIP_PREFIX', 'PIP_ROOT', 'PIP_USER', 'PIP_REQUIRE_VIRTUALENV'}
    return {name: value for name, value in os.environ.items()
            if not name.startswith('PYTHON') and name not in redirecting}


# ---- the machine ----

OWN_PYTHON = 'or give a Python that has both frameworks, `make PYTHON=python3 test`'


def check_machine(runtime: Runtime) -> None:
    """Refuse what cannot work, before anything is downloaded."""
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ('Linux', 'x86_64'):
        raise Problem(f'The runtime is for Linux on x86-64, and this is {system} on {machine}: use '
                      f'environment/Dockerfile on such a machine, {OWN_PYTHON}.')
    for tool in ('apt-get', 'dpkg-deb'):
        if not shutil.which(tool):
            raise Problem(f'{tool} is missing, so this is not Debian or a relative of it: use '
                          f'environment/Dockerfile, {OWN_PYTHON}.')
    if not os.path.exists(KEYRING):
        raise Problem("The keys that Debian's packages are signed with are missing: get them with "
                      '`apt-get install debian-archive-keyring`.')
    if '--argv0' not in output_of([LOADER, '--help']):
        raise Problem('The C library is older than glibc 2.33: use Debian 12 or newer, or '
                      f'environment/Dockerfile, {OWN_PYTHON}.')
    try:
        ctypes.CDLL('libgomp.so.1')
    except OSError:
        raise Problem('libgomp.so.1 is missing: get it with `apt-get install libgomp1`.') from None
    needed, free = 1.5e9, shutil.disk_usage(runtime.project).free
    if not runtime.debian.exists() and free < needed:
        raise Problem(f'Only {free / 1e9:.1f} GB of disk are free for {runtime.root}, and building '
                      f'it takes {needed / 1e9:.1f} GB: make room.')


def find_mirror() -> str:
    """The Debian mirror that this machine's apt uses, unless DEBIAN_MIRROR names one."""
    if os.environ.get('DEBIAN_MIRROR'):
        return os.environ['DEBIAN_MIRROR']
    system = output_of(['cat', '/etc/os-release'])
    own_release = ''.join(re.findall(r'^VERSION_CODENAME=(\S+)', system, re.MULTILINE))
    targets = output_of(['apt-get', 'indextargets', '--format',
                         '$(CREATED_BY)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)'])
    rows = [line.split('|', 3) for line in targets.splitlines()]
    mirrors: dict = {}
    for created_by, release, component, uri in rows:
        if created_by == 'Packages' and component == 'main' and not uri.startswith('cdrom:'):
            mirrors.setdefault(release, uri)
    # Other repositories may be configured too; Debian's own are those with the system's release.
    for release in (own_release, 'stable', 'testing', 'unstable', 'sid', 'oldstable'):
        if release in mirrors:
            return mirrors[release]
    raise Problem("No Debian mirror is in this machine's apt configuration: name one with "
                  '`make env DEBIAN_MIRROR=<address>`.')


# ---- step 1: Debian's packages ----

def prepare_apt(apt: Path, mirror: str) -> list:
    """Set up an apt that knows one repository; return the options that its commands begin with."""
    for folder in ('state/lists/partial', 'cache/archives/partial'):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    (apt / 'status').write_text('')
    (apt / 'sources.list').write_text(
        f'deb [arch=amd64 target=Packages signed-by={KEYRING}] {mirror} {RELEASE} main\n')
    (apt / 'apt.conf').write_text(APT_CONF.format(apt=apt))
    return ['-c', str(apt / 'apt.conf'), '-q']


def choose_packages(options: list) -> list:
    """name=version of every package that PACKAGES need, less LEAVE_OUT."""
    plan = output_of(['apt-get', *options, '--simulate', '--no-install-recommends', 'install',
                      *PACKAGES])
    found = re.findall(r'^Inst (\S+) \((\S+)', plan, re.MULTILINE)
    return sorted(f'{name}={version}' for name, version in found if name not in LEAVE_OUT)


def update_list(options: list, log: Path, mirror: str) -> list:
    """Have apt read and verify the mirror's list; return what to download."""
    progress = Progress('Debian package list')
    if run(['apt-get', *options, 'update'], log, progress, cwd='/') != 0:
        raise Problem(f'The mirror {mirror} does not give Debian 11 ({RELEASE}): name one that '
                      f'does with `make env DEBIAN_MIRROR=<address>` ({why(log)}; all in {log}).')
    packages = choose_packages(options)
    if not packages:
        raise Problem(f'The mirror {mirror} lacks {", ".join(PACKAGES)} or something they need: '
                      'name another one with `make env DEBIAN_MIRROR=<address>`.')
    progress.done(f'{len(packages)} packages')
    return packages


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


def build_debian(runtime: Runtime) -> None:
    log, part, apt = runtime.logs / 'debian.log', runtime.root / 'debian.part', runtime.root / 'apt'
    for path in (runtime.debian, part, apt, log):
        remove(path)
    mirror = find_mirror()
    options = prepare_apt(apt, mirror)
    packages = update_list(options, log, mirror)
    unpack(download(runtime, options, packages, log), part, log)
    part.rename(runtime.debian)
    for path in (runtime.downloads, apt):
        remove(path)


# ---- step 2: Python, and what pip adds ----

def wrappers() -> dict:
    """The programs in bin/, by name."""
    bodies = {'python': PYTHON_BODY, 'python3': PYTHON_BODY, 'pip': PIP_BODY, 'caffe': CAFFE_BODY}
    return {name: WRAPPER.format(body=body.format(loader=LOADER, name=name))
            for name, body in bodies.items()}


def write_environment(runtime: Runtime) -> None:
    """What makes `.runtime/` a virtual environment of the unpacked Python."""
    (runtime.root / 'pyvenv.cfg').write_text(
        f'home = {runtime.debian}/usr/bin\ninclude-system-site-packages = true\nversion = 3.9\n')
    runtime.python.parent.mkdir()
    for name, text in wrappers().items():
        file = runtime.python.parent / name
        file.write_text(text)
        file.chmod(0o755)
    packages = runtime.root / 'lib/python3.9/site-packages'
    packages.mkdir(parents=True)
    (packages / 'caffe_command.pth').write_text(DEEPBIND)


def compile_debian(runtime: Runtime) -> None:
    """What Debian does on installing: imports are faster, and old code gives its warnings here."""
    progress, library = Progress('Python byte code'), runtime.debian / 'usr/lib'
    run([runtime.python, '-m', 'compileall', '-q', '-j', '0', library / 'python3.9',
         library / 'python3/dist-packages'], runtime.logs / 'compile.log', progress,
        env=clean_environment())
    progress.done('')


def pip_install(runtime: Runtime, label: str, log: Path, total: int, *arguments) -> None:
    progress = Progress(label)

    def counter() -> str:
        text = log.read_text(errors='replace') if total else ''
        if not text:
            return ''
        if 'Installing collected packages' in text:
            return f'installing {total} packages'
        count = len(re.findall('^(?:Collecting|Processing) ', text, re.MULTILINE))
        return f'{min(count, total)} of {total} packages'

    remove(log)
    command = [runtime.python, '-m', 'pip', 'install', '--disable-pip-version-check', '--no-input',
               '--progress-bar', 'off', '--no-warn-script-location', *arguments]
    if run(command, log, progress, counter, cwd=runtime.project, env=clean_environment()) != 0:
        raise Problem(f'pip failed ({why(log)}; all in {log}).')
    progress.done(f'{total} packages' if total > 1 else '')


def pinned(requirements: Path) -> list:
    """The lines of a requirements file without their comments."""
    return re.findall(r'^[^#\s]+', requirements.read_text(encoding='utf-8'), re.MULTILINE)


def build_python(runtime: Runtime) -> None:
    for entry in runtime.root.iterdir():
        if entry not in (runtime.debian, runtime.stamps, runtime.logs, runtime.lock):
            remove(entry)
    write_environment(runtime)
    compile_debian(runtime)
    pip_install(runtime, 'PyPI packages', runtime.logs / 'pip.log', len(pinned(REQUIREMENTS)),
                '--only-binary', ':all:', '-r', REQUIREMENTS)
    pip_install(runtime, 'PyPI data', runtime.logs / 'pip-data.log', 1,
                '--only-binary', ':all:', '--no-deps', '-r', DATA_REQUIREMENTS)


# ---- steps 3 and 4: the proof, and the project itself ----

def build_proof(runtime: Runtime) -> None:
    log, progress = runtime.logs / 'proof.log', Progress('Both in one process')
    remove(log)
    if run([runtime.python, PROOF], log, progress, env=clean_environment(), cwd=runtime.root) != 0:
        raise Problem(f'The frameworks do not work together ({why(log)}; all in {log}).')
    progress.done(log.read_text().strip().splitlines()[-1])


def build_project(runtime: Runtime) -> None:
    pip_install(runtime, 'Project, editable', runtime.logs / 'project.log', 0,
                '--no-deps', '--no-build-isolation', '-e', '.')
    record = runtime.project / NATIVE / '_kernels.json'
    reason = json.loads(record.read_text()).get('error') if record.exists() else 'see the log'
    if reason:
        print(f'The compiled kernels are left out: {reason}. All works without them, slower.')


def project_inputs(runtime: Runtime) -> list:
    """What the editable install depends on: setup.py, setup.cfg less the tools' sections, and the
    sources of the kernels, which it compiles."""
    config = configparser.RawConfigParser()
    config.read(runtime.project / 'setup.cfg', encoding='utf-8')
    sections = {name: dict(config[name]) for name in config.sections()
                if name.split('.')[0] in ('metadata', 'options', 'build_ext')}
    sources = [file for file in sorted((runtime.project / NATIVE).glob('*'))
               if file.suffix in ('.cpp', '.h') or file.name == 'build.py']
    return [sections, *(file.read_text(encoding='utf-8')
                        for file in [runtime.project / 'setup.py', *sources])]


# ---- all of it ----

def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()


def steps(runtime: Runtime) -> list:
    """(name, function, key) of each step in order; each key covers the steps before it too."""
    inputs = [
        ('debian', build_debian, [RELEASE, PACKAGES, sorted(LEAVE_OUT)]),
        # With the place, because the scripts that pip writes into bin/ hold absolute paths.
        ('python', build_python, [str(runtime.root), wrappers(), DEEPBIND, pinned(REQUIREMENTS),
                                  pinned(DATA_REQUIREMENTS)]),
        ('proof', build_proof, [PROOF.read_text()]),
        ('project', build_project, project_inputs(runtime)),
    ]
    result, key = [], ''
    for name, function, values in inputs:
        text = json.dumps([key, name, values], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        result.append((name, function, key))
    return result


def is_done(runtime: Runtime, name: str, key: str) -> bool:
    stamp = runtime.stamps / name
    return stamp.exists() and stamp.read_text() == key


def write_stamp(runtime: Runtime, name: str, key: str) -> None:
    """All at once, so that no interruption leaves half a stamp."""
    runtime.stamps.mkdir(exist_ok=True)
    part = runtime.stamps / (name + '.part')
    part.write_text(key)
    part.rename(runtime.stamps / name)


def take_lock(runtime: Runtime):
    """Wait for other runs in this folder. The lock is held while the returned file is open."""
    runtime.root.mkdir(exist_ok=True)
    lock = open(runtime.lock, 'a+')
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        print(f'Waiting for process {lock.read()}, or what it started: it is building .runtime/.',
              flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    os.set_inheritable(lock.fileno(), True)
    return lock


def build(runtime: Runtime) -> None:
    start, todo = time.monotonic(), steps(runtime)
    while todo and is_done(runtime, todo[0][0], todo[0][2]):
        del todo[0]
    if not todo:
        print('.runtime/ is up to date.')
        return
    check_machine(runtime)
    print(f'Building {runtime.root}; all of it takes about three minutes.', flush=True)
    # Later stamps go first: what they stand for is wiped or outdated from here on.
    for name, _, _ in reversed(todo):
        remove(runtime.stamps / name)
    for name, function, key in todo:
        function(runtime)
        write_stamp(runtime, name, key)
    print(f'Built in {time.monotonic() - start:.0f} s.')


def interrupted(signal_number, frame) -> None:
    raise KeyboardInterrupt


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description='Build .runtime/: Caffe and MXNet in one Python.')
    parser.add_argument('--project', type=Path, default=HERE.parent,
                        help='the folder to build it in; the default is the one this program is in')
    runtime = Runtime(parser.parse_args(arguments).project)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        lock = take_lock(runtime)
        build(runtime)
        lock.close()
    except Problem as problem:
        print(f'\n{problem}' if sys.stdout.isatty() else problem, file=sys.stderr)
        return 2
    except OSError as error:
        print(f'.runtime/ cannot be built: {error}.', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\nInterrupted; the next `make env` goes on from here.', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
