import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseDriver } from './compatibility.ts';
import { isNamespacedSysctl } from './container-options.ts';
import type { ContainerOptions } from './container-options.ts';
import type { DriverInfo } from './documents.ts';
import { formatProblem, parseManifest } from './manifest.ts';

const file = (container: string): string =>
  `app: shop\nbuild: { base: node }\nentrypoints:\n  web:\n    command: node server.js\n    container: ${container}\n`;

function optionsOf(container: string): ContainerOptions | undefined {
  const { manifest, problems } = parseManifest(file(container));
  assert.deepEqual(problems.map(formatProblem), []);
  return manifest?.entrypoints['web']?.container;
}

const problemsOf = (container: string): readonly string[] =>
  parseManifest(file(container), 'f').problems.map((problem) => formatProblem(problem).slice(2));

test('every key is read', () => {
  assert.deepEqual(
    optionsOf(
      '{ readOnly: true, capabilities: [SETUID, CHOWN, SETUID], ulimits: { nofile: 65536, core: 0, memlock: unlimited, stack: { soft: 8Mi, hard: 64Mi } }, sysctls: { net.core.somaxconn: 4096, net.ipv4.ip_local_port_range: "1024 65000" }, sharedMemory: 128Mi }',
    ),
    {
      readOnly: true,
      capabilities: ['CHOWN', 'SETUID'],
      ulimits: {
        nofile: { soft: 65_536, hard: 65_536 },
        core: { soft: 0, hard: 0 },
        memlock: { soft: -1, hard: -1 },
        stack: { soft: 8 * 2 ** 20, hard: 64 * 2 ** 20 },
      },
      sysctls: { 'net.core.somaxconn': '4096', 'net.ipv4.ip_local_port_range': '1024 65000' },
      sharedMemoryBytes: 128 * 2 ** 20,
    },
  );
  const nothing = { readOnly: false, capabilities: [], ulimits: {}, sysctls: {}, sharedMemoryBytes: null };
  assert.deepEqual(optionsOf('{}'), nothing);
});

test('what reaches beyond the container is refused at its place in the file', () => {
  const at = 'entrypoints.web.container';
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['{ capabilities: [SYS_ADMIN] }', new RegExp(`^6:33: ${at}.capabilities.0: expected one of CHOWN, .*found "SYS_ADMIN"`, 'u')],
    ['{ capabilities: [CHWON] }', /did you mean CHOWN\?/u],
    ['{ sysctls: { kernel.panic: 1 } }', /^6:29: .*kernel\.panic: is not a setting that a container has for itself/u],
    ['{ sysctls: { net.core.somaxconn: [1] } }', /expected a number, or text in quotes, found a list/u],
    ['{ ulimits: { rtprio: 99 } }', /^6:29: .*is no ulimit of a container; expected one of core, /u],
    ['{ ulimits: { nofiles: 99 } }', /did you mean nofile\?/u],
    ['{ ulimits: { nofile: unlimited } }', /cannot be more than 1048576/u],
    ['{ ulimits: { nofile: { soft: 20, hard: 10 } } }', /soft cannot be more than hard/u],
    ['{ ulimits: { nofile: { soft: 20 } } }', /expected a number, an amount/u],
    ['{ privileged: true }', /unknown key/u],
    ['{ readOnly: "yes" }', /expected true or false/u],
  ];
  for (const [text, message] of wrong) {
    const problems = problemsOf(text);
    assert.equal(problems.length, 1, `${text}: ${problems.join(' | ')}`);
    assert.match(problems[0] ?? '', message);
  }
});

test('a setting of the kernel is taken by its whole name, and only where containers have one of their own', () => {
  const own = [
    'kernel.shmmax',
    'kernel.msgmni',
    'kernel.sem',
    'fs.mqueue.msg_max',
    'net.ipv4.tcp_syncookies',
    'net.ipv4.conf.all.rp_filter',
  ];
  const others = [
    'kernel.shm',
    'kernel.shmmax.x',
    'kernel.msg/../panic',
    'vm.swappiness',
    'fs.file-max',
    'net',
    'net.',
    'net./x',
    'netx.a',
  ];
  assert.deepEqual(
    own.filter((name) => !isNamespacedSysctl(name)),
    [],
  );
  assert.deepEqual(others.filter(isNamespacedSysctl), []);
});

test('an Entrypoint that asks something of its container runs only where there is one', () => {
  const limits = { cpu: 'enforced', memory: 'enforced', user: 'enforced', disk: 'enforced' };
  const plain: DriverInfo = { name: 'process', artifacts: ['bundle'], limits };
  const docker: DriverInfo = { name: 'docker', artifacts: ['bundle', 'image'], containers: true, limits };
  const { manifest } = parseManifest(file('{ readOnly: true }'));
  const web = manifest?.entrypoints['web'];
  assert.ok(manifest && web);
  assert.deepEqual(chooseDriver([plain, docker], web, manifest.build), { ok: true, driver: 'docker', holdsPort: false });
  const host = { privileged: false, network: true, devices: [], folders: [] };
  const outside = { ...web, container: { readOnly: false, capabilities: [], ulimits: {}, sysctls: {}, sharedMemoryBytes: null, host } };
  assert.deepEqual(chooseDriver([docker], outside, manifest.build), { ok: true, driver: 'docker', holdsPort: true });
  const refused = chooseDriver([plain], web, manifest.build);
  assert.ok(!refused.ok);
  assert.equal(
    refused.message,
    'Entrypoint web cannot run here: driver process runs no containers, and `container` asks something of one.',
  );
  assert.match(refused.hint, /docker driver/u);
});
