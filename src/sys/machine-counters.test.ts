import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { readMachineCounters } from './machine-counters.ts';

const INTERFACES = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 999999  10    0    0    0     0          0         0 999999    10    0    0    0     0       0          0
  eth0:    1000  10    0    0    0     0          0         0     2000    10    0    0    0     0       0          0
docker0:    30  1    0    0    0     0          0         0     40    1    0    0    0     0       0          0
veth1:    30  1    0    0    0     0          0         0     40    1    0    0    0     0       0          0
`;

/** A machine whose /proc and /sys are these files; a path that ends with `/` is a folder. */
async function withMachine(files: Readonly<Record<string, string>>, run: (root: string) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'libra-machine-'));
  try {
    for (const [path, text] of Object.entries(files)) {
      const isFolder = path.endsWith('/');
      await mkdir(isFolder ? join(root, path) : dirname(join(root, path)), { recursive: true });
      if (!isFolder) await writeFile(join(root, path), text);
    }
    await run(root);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

test('a machine is counted once: by its network cards and its whole disks', () =>
  withMachine(
    {
      'proc/stat': 'cpu  1000 200 300 50000 70 10 20 5 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n',
      'proc/loadavg': '0.50 1.25 2.00 1/100 1234\n',
      'proc/meminfo': 'MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\n',
      'proc/net/dev': INTERFACES,
      'proc/diskstats': [
        '   7       0 loop0 5 0 800 0 5 0 800 0 0 0 0',
        ' 254       0 vda 10 0 100 0 10 0 200 0 0 0 0 0 0 0 0 0 0',
        ' 254       1 vda1 10 0 100 0 10 0 200 0 0 0 0',
        ' 253       0 dm-0 10 0 100 0 10 0 200 0 0 0 0',
        '',
      ].join('\n'),
      'sys/class/net/eth0/device/': '',
      'sys/class/net/docker0/bridge/': '',
      'sys/class/net/veth1/brport/': '',
      'sys/block/vda/slaves/': '',
      'sys/block/dm-0/slaves/vda1/': '',
      'sys/block/loop0/slaves/': '',
    },
    async (root) => {
      const { space, ...counters } = await readMachineCounters(root, root);
      assert.deepEqual(counters, {
        cpuSeconds: 15.3,
        load: [0.5, 1.25, 2],
        memoryBytes: 600 * 1024,
        network: { receivedBytes: 1000, sentBytes: 2000 },
        disk: { readBytes: 51_200, writtenBytes: 102_400 },
      });
      assert.ok(space !== undefined && space.usedBytes > 0 && space.sizeBytes >= space.usedBytes);
    },
  ));

test('a machine without network cards has what leads out of it, and not what is inside', () =>
  withMachine({ 'proc/net/dev': INTERFACES, 'sys/class/net/docker0/bridge/': '', 'sys/class/net/veth1/brport/': '' }, async (root) => {
    assert.deepEqual((await readMachineCounters(root, root)).network, { receivedBytes: 1000, sentBytes: 2000 });
  }));

test('what a kernel does not tell is left out', () =>
  withMachine({ 'proc/stat': 'cpu', 'proc/meminfo': 'MemTotal: 1000 kB\n', 'proc/loadavg': '', 'proc/diskstats': '' }, async (root) => {
    assert.deepEqual(Object.keys(await readMachineCounters(join(root, 'gone'), root)), []);
  }));

test('this machine tells', { skip: process.platform !== 'linux' }, async () => {
  const before = await readMachineCounters(tmpdir());
  assert.ok((before.cpuSeconds ?? 0) > 0 && (before.memoryBytes ?? 0) > 0 && (before.space?.sizeBytes ?? 0) > 0);
});
