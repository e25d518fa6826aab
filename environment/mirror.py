"""The Debian mirror, and an apt of our own that knows nothing but Debian 11 there."""
import os
import re
from pathlib import Path

from machine import KEYRING
from running import output_of
from runtime import Problem

RELEASE = 'bullseye'

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


def prepare_apt(apt: Path, mirror: str) -> list:
    """Set up an apt that knows one repository; return the options that its commands begin with."""
    for folder in ('state/lists/partial', 'cache/archives/partial'):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    (apt / 'status').write_text('')
    (apt / 'sources.list').write_text(
        f'deb [arch=amd64 target=Packages signed-by={KEYRING}] {mirror} {RELEASE} main\n')
    (apt / 'apt.conf').write_text(APT_CONF.format(apt=apt))
    return ['-c', str(apt / 'apt.conf'), '-q']
