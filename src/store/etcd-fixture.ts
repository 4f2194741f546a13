// An etcd cluster of its own for a test, on free ports and in folders that are removed; its members can be killed, stopped and started anew.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../lib/clock.ts';
import { freePorts } from '../sys/ports-fixture.ts';
import { createEtcdClient } from './etcd-client.ts';
import { etcd } from './etcd-messages.ts';
import type { ClientOptions } from './etcd-client.ts';

const START_MS = 20_000;

export interface TestCluster {
  readonly endpoints: readonly string[];
  /** `etcd://…` of it. */
  readonly url: string;
  /** Process id of a member; undefined where it does not run. */
  pid(member: number): number | undefined;
  signal(member: number, signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): Promise<void>;
  /** Of one that was killed, on the data that it had. */
  start(member: number): void;
  stop(): Promise<void>;
}

export interface ClusterOptions {
  readonly members?: number;
  /** Words of `etcd` for TLS towards clients. */
  readonly tlsWords?: readonly string[];
  readonly client?: ClientOptions;
}

export async function startTestCluster({ members = 1, tlsWords = [], client = {} }: ClusterOptions = {}): Promise<TestCluster> {
  const folder = mkdtempSync(join(tmpdir(), 'libra-etcd-'));
  const ports = await freePorts(members * 2);
  const scheme = tlsWords.length === 0 ? 'http' : 'https';
  const endpoints = Array.from({ length: members }, (_unused, member) => `${scheme}://127.0.0.1:${ports[member]}`);
  const peers = Array.from({ length: members }, (_unused, member) => `http://127.0.0.1:${ports[members + member]}`);
  const cluster = peers.map((peer, member) => `m${member}=${peer}`).join(',');
  const children = new Map<number, ChildProcess>();
  const start = (member: number): void => {
    const client = endpoints[member] ?? '';
    const peer = peers[member] ?? '';
    const words = ['--name', `m${member}`, '--data-dir', join(folder, `m${member}`), '--log-level', 'error', ...tlsWords];
    const clients = ['--listen-client-urls', client, '--advertise-client-urls', client];
    const others = ['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', cluster];
    const child = spawn('etcd', [...words, ...clients, ...others], { stdio: 'ignore' });
    children.set(member, child);
  };
  for (let member = 0; member < members; member += 1) start(member);
  const untilMs = systemClock.monotonic() + START_MS;
  for (const endpoint of endpoints) {
    const looks = createEtcdClient([endpoint], client);
    for (;;) {
      try {
        await looks.call(etcd.range, { key: 'a' }, { repeatable: true });
        break;
      } catch (error) {
        if (systemClock.monotonic() > untilMs) {
          for (const child of children.values()) child.kill('SIGKILL');
          throw error;
        }
        await systemClock.sleep(50);
      }
    }
    looks.close();
  }
  return {
    endpoints,
    url: `etcd${scheme === 'https' ? 's' : ''}://${endpoints.map((endpoint) => endpoint.replace(/^https?:\/\//u, '')).join(',')}`,
    pid: (member) => children.get(member)?.pid,
    signal: async (member, signal) => {
      const child = children.get(member);
      if (child === undefined) return;
      const gone = signal === 'SIGKILL' ? once(child, 'exit') : Promise.resolve();
      child.kill(signal);
      await gone;
    },
    start,
    stop: async () => {
      for (const child of children.values()) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        const gone = once(child, 'exit');
        child.kill('SIGKILL');
        await gone;
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
