"""The Debian mirror, and an apt of our own that knows nothing but one release there."""
import os
import re
import urllib.parse
from pathlib import Path
from typing import Optional

from machine import KEYRING
from running import output_of
from runtime import Problem

APT_CONF = '''\
# Read after the machine's own apt configuration: its proxy settings hold, and these lines win.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::Languages;
Acquire::Languages "none";
Acquire::GzipIndexes "{keep}";
Acquire::IndexTargets::deb::Packages::KeepCompressedAs "xz";
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


# A bundle gets older, and the clock of a machine without a network may be wrong.
NO_DATES = '''\
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
'''


def find_mirror(bundle: Optional[Path] = None) -> str:
    """The one in a bundle; else the Debian mirror that this machine's apt uses, unless
    DEBIAN_MIRROR names one.
    """
    if bundle:
        return 'file:' + urllib.parse.quote(f'{bundle}/debian')
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


def prepare_apt(apt: Path, mirror: str, release: str, keep: bool = False,
                dates: bool = True) -> list:
    """Set up an apt that knows one repository; return the options that its commands begin with.

    keep : the list of packages stays as the mirror has it, compressed.
    dates : the mirror's signature is refused outside the time for which it was given.
    """
    for folder in ('state/lists/partial', 'cache/archives/partial'):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    (apt / 'status').write_text('')
    (apt / 'sources.list').write_text(
        f'deb [arch=amd64 target=Packages signed-by={KEYRING}] {mirror} {release} main\n')
    (apt / 'apt.conf').write_text(APT_CONF.format(apt=apt, keep='true' if keep else 'false')
                                  + ('' if dates else NO_DATES))
    return ['-c', str(apt / 'apt.conf'), '-q']
