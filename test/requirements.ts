// What a suite needs and a plain machine may lack. Missing: the suite is skipped visibly, with the command that installs it; listed in
// LIBRA_TEST_REQUIRE (`all` stands for everything): missing is a failure.

import { execFileSync } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';

function finds(program: string): boolean {
  for (const folder of (process.env['PATH'] ?? '').split(':')) {
    try {
      accessSync(`${folder}/${program}`, constants.X_OK);
      return true;
    } catch {
      // Not in this folder.
    }
  }
  return false;
}

function runs(program: string, ...words: readonly string[]): boolean {
  try {
    execFileSync(program, words, { stdio: 'ignore', timeout: 15_000 });
    return true;
  } catch {
    return false;
  }
}

function npmReachesRegistry(): boolean {
  try {
    execFileSync('npm', ['view', 'ws', 'version', '--fetch-retries=0', '--fetch-timeout=5000'], { stdio: 'ignore', timeout: 15_000 });
    return true;
  } catch {
    return false;
  }
}

const REQUIREMENTS = {
  root: { met: () => process.getuid?.() === 0, hint: 'run as root' },
  cgroup: {
    met: () => {
      try {
        accessSync('/sys/fs/cgroup/memory/cgroup.procs', constants.W_OK);
        return true;
      } catch {
        return false;
      }
    },
    hint: 'run as root with writable cgroups',
  },
  ip: { met: () => finds('ip'), hint: 'apt-get install iproute2' },
  dockerd: {
    met: () => process.getuid?.() === 0 && finds('dockerd') && runs('/bin/busybox', 'true'),
    hint: 'apt-get install docker.io busybox-static, and run as root',
  },
  'docker-registry': { met: () => finds('docker-registry'), hint: 'apt-get install docker-registry' },
  etcd: { met: () => finds('etcd'), hint: 'apt-get install etcd-server' },
  python3: { met: () => finds('python3'), hint: 'apt-get install python3' },
  prometheus: { met: () => finds('prometheus'), hint: 'apt-get install prometheus' },
  bash: { met: () => finds('bash'), hint: 'apt-get install bash' },
  zsh: { met: () => finds('zsh'), hint: 'apt-get install zsh' },
  fish: { met: () => finds('fish'), hint: 'apt-get install fish' },
  slowhttptest: { met: () => finds('slowhttptest'), hint: 'apt-get install slowhttptest' },
  nginx: { met: () => finds('nginx'), hint: 'apt-get install nginx-light' },
  haproxy: { met: () => finds('haproxy'), hint: 'apt-get install haproxy' },
  caddy: { met: () => finds('caddy'), hint: 'apt-get install caddy' },
  varnishd: { met: () => finds('varnishd'), hint: 'apt-get install varnish' },
  lighttpd: { met: () => finds('lighttpd'), hint: 'apt-get install lighttpd' },
  apache2: { met: () => finds('apache2'), hint: 'apt-get install apache2-bin' },
  squid: { met: () => finds('squid'), hint: 'apt-get install squid' },
  nghttp2: { met: () => finds('nghttp') && finds('h2load'), hint: 'apt-get install nghttp2' },
  'python3-h2': { met: () => runs('/usr/bin/python3', '-c', 'import h2'), hint: 'apt-get install python3-h2' },
  chromium: { met: () => finds('chromium'), hint: 'apt-get install chromium' },
  pebble: { met: () => finds('pebble') && finds('pebble-challtestsrv'), hint: 'apt-get install pebble' },
  curl: { met: () => finds('curl'), hint: 'apt-get install curl' },
  readable: {
    met: () => {
      for (let folder = dirname(import.meta.dirname); ; folder = dirname(folder)) {
        if ((statSync(folder).mode & 0o001) === 0) return false;
        if (folder === '/') return true;
      }
    },
    hint: 'put the checkout where other users can read it',
  },
  setpriv: { met: () => finds('setpriv'), hint: 'apt-get install util-linux' },
  npm: { met: npmReachesRegistry, hint: 'connect the machine to an npm registry' },
} as const;

export type Requirement = keyof typeof REQUIREMENTS;

/** For the `skip` option of a test: false when all is there, else the reason. Throws where LIBRA_TEST_REQUIRE names what is missing. */
export function lacking(...names: readonly Requirement[]): string | false {
  const required = new Set((process.env['LIBRA_TEST_REQUIRE'] ?? '').split(',').filter((name) => name !== ''));
  for (const name of names) {
    const requirement = REQUIREMENTS[name];
    if (requirement.met()) continue;
    if (required.has(name) || required.has('all'))
      throw new Error(`LIBRA_TEST_REQUIRE names ${name}, and it is missing: ${requirement.hint}`);
    return `needs ${name}: ${requirement.hint}`;
  }
  return false;
}
