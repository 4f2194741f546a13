import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startWithin } from './cgroup-join.ts';
import { parseCgroupMounts, readCgroupMounts } from './cgroup-mounts.ts';
import { cgroupPids, cgroupUsage, detectCgroups, killCgroup, parseCpus, removeCgroup } from './cgroup.ts';
import { until } from './keeper-fixture.ts';

const limits = { cpu: 1, memoryBytes: 2 ** 28, processes: 100 };

test('mounts of version 1, joint controllers and a container root are understood', () => {
  const mountinfo = [
    '30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755',
    '31 30 0:27 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct',
    '32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd',
    '33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
  ].join('\n');
  const membership = '4:cpu,cpuacct:/docker/abc/inner\n1:name=systemd:/init\n0::/user.slice/with:colon\n';
  assert.deepEqual(parseCgroupMounts(mountinfo, membership), [
    { version: 1, folder: '/sys/fs/cgroup/cpu,cpuacct', controllers: ['cpu', 'cpuacct'], home: '/sys/fs/cgroup/cpu,cpuacct/inner' },
    { version: 1, folder: '/sys/fs/cgroup/systemd', controllers: ['name=systemd'], home: '/sys/fs/cgroup/systemd/init' },
    { version: 2, folder: '/sys/fs/cgroup/unified', controllers: [], home: '/sys/fs/cgroup/unified/user.slice/with:colon' },
  ]);
});

test('lists of CPUs are understood', () => {
  assert.deepEqual(parseCpus('0-2,5,7-8'), [0, 1, 2, 5, 7, 8]);
  assert.deepEqual([parseCpus(''), parseCpus('3')], [[], [3]]);
});

test('a machine without cgroups says so for every limit and makes none', () => {
  const host = detectCgroups('test', []);
  assert.deepEqual(new Set(Object.values(host.enforcement)), new Set(['no cgroup hierarchy is mounted']));
  assert.deepEqual(host.create('x', limits), []);
});

test('a hierarchy that may not be written is a reason, not an error', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'libra-cgroup-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const host = detectCgroups('test', [{ version: 2, folder: join(folder, 'absent'), controllers: [], home: join(folder, 'absent') }]);
  assert.match(host.enforcement.memory, /no writable cgroup/);
});

for (const version of [1, 2] as const) {
  test(`version ${version}: a program is born inside, counted, killed with all its children, and nothing of ours stays there`, async (t) => {
    const mounts = readCgroupMounts().filter((mount) => mount.version === version);
    const host = detectCgroups(`test-${process.pid}`, mounts);
    if (host.version === null) return t.skip(`no writable cgroup of version ${version}: ${host.enforcement.kill}`);
    const before = readFileSync('/proc/self/cgroup', 'utf8');
    const folders = host.create('group', limits);
    const child = startWithin(folders, () =>
      spawn(process.execPath, [
        '-e',
        `require('node:child_process').spawn('setsid', ['sleep', '60']); console.log('up'); setInterval(() => {}, 1e3)`,
      ]),
    );
    t.after(() => child.kill('SIGKILL'));
    const ended = new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal)));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    assert.equal(readFileSync('/proc/self/cgroup', 'utf8'), before);
    await until('both are in the group', () => cgroupPids(folders).length === 2);
    assert.ok(cgroupPids(folders).includes(child.pid ?? 0) && !cgroupPids(folders).includes(process.pid));
    assert.equal(cgroupUsage(folders).processes, 2);
    assert.equal(removeCgroup(folders), false);
    assert.equal(killCgroup(folders), true);
    assert.equal(await ended, 'SIGKILL');
    await until('the group is empty', () => cgroupPids(folders).length === 0);
    await until('the group can be removed', () => removeCgroup(folders));
    host.release();
    assert.ok(folders.every((folder) => !existsSync(folder)));
  });
}
