// Instances on machines of their own, which no other address leads to than the data port of each, and the link of one of them goes down.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { RouteTable, RouteTarget } from '../../src/api/dataplane.ts';
import type { DataPlaneOptions } from '../../src/roles/run-data-plane.ts';
import { newId } from '../../src/lib/id.ts';
import { DEFAULT_TRAFFIC } from '../../src/model/traffic-policy.ts';
import { makeAuthority } from '../fixtures/certificate.ts';
import type { FarNode } from '../fixtures/far-node-child.ts';
import { createNetwork } from '../fixtures/network.ts';
import type { Machine } from '../fixtures/network.ts';
import type { Outcome } from '../fixtures/requests-child.ts';
import { lacking } from '../requirements.ts';

const HOST = 'app.localhost';
const WORKERS = 8;
const [EDGE_PORT, DATA_PORT, APP_PORT] = [8080, 7443, 3000];
const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

async function until(what: string, holds: () => boolean, deadlineMs = 20_000): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (!holds()) {
    if (performance.now() > endMs) assert.fail(`waited ${deadlineMs} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test(
  'a machine whose link goes down takes no requests with it, its streams end, and it comes back',
  { skip: lacking('root', 'ip'), timeout: 180_000 },
  async (context) => {
    const folder = mkdtempSync(join(tmpdir(), 'libra-machines-'));
    const network = createNetwork(3);
    const children: ChildProcess[] = [];
    context.after(async () => {
      await Promise.all(
        children.map(async (child) => {
          if (child.exitCode !== null || child.signalCode !== null) return;
          const ended = once(child, 'exit');
          child.kill('SIGKILL');
          await ended;
        }),
      );
      network.stop();
      rmSync(folder, { recursive: true, force: true });
    });
    const start = (machine: Machine | undefined, file: string, ...words: readonly string[]): ChildProcess => {
      assert.ok(machine);
      const child = machine.run([process.execPath, file, ...words]);
      children.push(child);
      return child;
    };
    const ready = async ({ stdout }: ChildProcess): Promise<void> => {
      assert.ok(stdout);
      await once(stdout, 'data');
    };

    const authority = makeAuthority();
    const edgeId = newId();
    const [edgeMachine, ...far] = network.machines;
    const targets: RouteTarget[] = [];
    for (const [index, machine] of far.entries()) {
      const node: FarNode = {
        identity: authority.issueMachine(newId(), ['node']),
        host: machine.address,
        port: DATA_PORT,
        appPort: APP_PORT,
        instanceId: `instance-${index}`,
        name: index === 0 ? 'one' : 'two',
        edges: [edgeId],
        file: join(folder, `peers-${index}.json`),
      };
      await ready(start(machine, fixture('far-node-child.ts'), JSON.stringify(node)));
      targets.push({
        instanceId: node.instanceId,
        deploymentId: 'd',
        nodeId: node.identity.nodeId,
        // The same on both, and nothing on the Edge's own machine.
        host: '127.0.0.1',
        port: APP_PORT,
        generation: 1,
        via: { host: machine.address, port: DATA_PORT },
        state: 'active',
        drainUntilMs: null,
      });
    }
    const identityFile = join(folder, 'identity.json');
    writeFileSync(identityFile, JSON.stringify(authority.issueMachine(edgeId, ['node', 'edge'])));
    const policy = { ...DEFAULT_TRAFFIC, retries: { ...DEFAULT_TRAFFIC.retries, perTryMs: 1_000, budgetPercent: 100 } };
    const table: RouteTable = {
      rules: [{ host: HOST, path: '/', headers: {}, group: 'app' }],
      groups: [{ id: 'app', app: 'app', environment: 'production', entrypoint: 'web', state: 'serving', targets, policy, healthPath: '/' }],
    };
    const tableFile = join(folder, 'table.json');
    writeFileSync(tableFile, JSON.stringify({ schema: 1, sequence: 1, table }));
    const options: DataPlaneOptions = {
      edgeId: 'edge',
      version: 'test',
      listen: [{ host: '127.0.0.1', port: EDGE_PORT }],
      connectionFile: join(folder, 'connection.json'),
      tableFile,
      accessLog: null,
      admin: null,
      drainMs: 1_000,
      nodeId: edgeId,
      identityFile,
    };
    await ready(
      start(edgeMachine, fileURLToPath(new URL('../../src/roles/run-data-plane-fixture.ts', import.meta.url)), JSON.stringify(options)),
    );

    const outcomes: Outcome[] = [];
    const client = start(edgeMachine, fixture('requests-child.ts'), String(EDGE_PORT), HOST, String(WORKERS), '8');
    assert.ok(client.stdout);
    createInterface(client.stdout).on('line', (line) => outcomes.push(JSON.parse(line) as Outcome)); // what the fixture tells
    const requests = (): Outcome[] => outcomes.filter(({ kind }) => kind === 'request');
    const streams = (body: string): Outcome[] => outcomes.filter((each) => each.kind === 'stream' && each.body === body);
    const answered = (name: string, sinceMs: number): boolean => requests().some(({ body, atMs }) => body === name && atMs > sinceMs);
    await until('both answer', () => answered('one', 0) && answered('two', 0));
    await until('all streams have begun', () => streams('begun one').length + streams('begun two').length === 8);
    const cutOff = streams('begun one').length;
    assert.ok(cutOff > 0, 'some streams come from the machine that goes');

    far[0]?.link('down');
    const downMs = Date.now();
    await until('every stream of the machine that is gone has ended', () => streams('one').length === cutOff, 60_000);
    const lastStreamMs = Math.max(...streams('one').map(({ atMs }) => atMs)) - downMs;
    const after = requests().filter(({ atMs }) => atMs > downMs);
    const failed = after.filter(({ status }) => status !== 200);
    const slowest = Math.max(...after.map(({ tookMs }) => tookMs));
    const lastOne = Math.max(downMs, ...after.filter(({ body }) => body === 'one').map(({ atMs }) => atMs)) - downMs;
    context.diagnostic(
      `link down: ${after.length} requests after it, ${failed.length} failed, slowest ${slowest} ms, last answer of the lost machine after ${lastOne} ms; ` +
        `its ${cutOff} streams had ended after ${lastStreamMs} ms`,
    );
    // Hardly ever one of those that were under way at that moment has used up its tries; none of a later moment may.
    assert.ok(failed.length < WORKERS && failed.every(({ atMs }) => atMs - downMs < 5_000), JSON.stringify(failed));
    const moved = new Set(after.filter(({ atMs }) => atMs > Date.now() - 5_000).map(({ worker }) => worker));
    assert.equal(moved.size, WORKERS, 'nobody waits for the lost machine still');
    assert.ok(slowest < 5_000, 'no request waited for longer than a try may take and a bit');
    assert.ok(
      streams('one').every(({ status }) => status === 0),
      'a stream that broke off does not look whole',
    );
    assert.equal(streams('two').length, 0, 'those of the other machine go on');

    far[0]?.link('up');
    const upMs = Date.now();
    await until('the machine gets requests again', () => answered('one', upMs), 60_000);
    context.diagnostic(`link up: requests again after ${Date.now() - upMs} ms`);
  },
);
