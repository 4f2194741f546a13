// What the engine says that a container takes (`/containers/{id}/stats`), of either version of cgroups.

import type { Usage } from '../contract.ts';
import { fieldOf, keysOf, listOf, numberOf, textOf } from './fields.ts';

export function readUsage(answer: unknown): Usage {
  const used = numberOf(answer, 'memory_stats', 'usage') ?? 0;
  const [v1, v2] = ['total_inactive_file', 'inactive_file'].map((key) => numberOf(answer, 'memory_stats', 'stats', key));
  const interfaces = keysOf(answer, 'networks');
  const passed = (counter: string): number => interfaces.reduce((sum, name) => sum + (numberOf(answer, 'networks', name, counter) ?? 0), 0);
  const transfers = listOf(answer, 'blkio_stats', 'io_service_bytes_recursive');
  const moved = (what: string): number =>
    transfers.reduce<number>((sum, each) => sum + (textOf(each, 'op')?.toLowerCase() === what ? (numberOf(each, 'value') ?? 0) : 0), 0);
  return {
    cpuSeconds: (numberOf(answer, 'cpu_stats', 'cpu_usage', 'total_usage') ?? 0) / 1e9,
    memoryBytes: Math.max(0, used - (v1 ?? v2 ?? 0)),
    processes: numberOf(answer, 'pids_stats', 'current') ?? 0,
    // A container in the network of the machine has none of its own.
    ...(interfaces.length === 0 ? {} : { network: { receivedBytes: passed('rx_bytes'), sentBytes: passed('tx_bytes') } }),
    // Without a list nobody counts, and groups of version 1 count nothing that the kernel writes later: nearly all.
    ...(v1 === null && Array.isArray(fieldOf(answer, 'blkio_stats', 'io_service_bytes_recursive'))
      ? { disk: { readBytes: moved('read'), writtenBytes: moved('write') } }
      : {}),
  };
}
