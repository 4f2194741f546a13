import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readUsage } from './usage.ts';

const networks = { eth0: { rx_bytes: 10, tx_bytes: 20 }, eth1: { rx_bytes: 1, tx_bytes: 2 } };

test('what the engine tells of a container is summed up', () => {
  const usage = readUsage({
    cpu_stats: { cpu_usage: { total_usage: 2_500_000_000 } },
    memory_stats: { usage: 1000, stats: { inactive_file: 400 } },
    pids_stats: { current: 3 },
    networks,
    blkio_stats: {
      io_service_bytes_recursive: [
        { major: 254, minor: 0, op: 'read', value: 100 },
        { major: 254, minor: 0, op: 'write', value: 200 },
        { major: 8, minor: 0, op: 'Write', value: 5 },
      ],
    },
  });
  const [network, disk] = [
    { receivedBytes: 11, sentBytes: 22 },
    { readBytes: 100, writtenBytes: 205 },
  ];
  assert.deepEqual(usage, { cpuSeconds: 2.5, memoryBytes: 600, processes: 3, network, disk });
});

test('what nobody counts is left out: no network of its own, no list of transfers, cgroups of version 1', () => {
  const rest = { cpuSeconds: 0, memoryBytes: 600, processes: 0 };
  const memory = { usage: 1000, stats: { total_inactive_file: 400, inactive_file: 1 } };
  assert.deepEqual(readUsage({ memory_stats: memory, blkio_stats: { io_service_bytes_recursive: [] } }), rest);
  const second = { memory_stats: { usage: 600 }, blkio_stats: { io_service_bytes_recursive: null } };
  assert.deepEqual(readUsage(second), rest);
});
