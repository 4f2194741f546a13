// Floods of HTTP/2 frames from ten connections at once: who attacks is told to calm down or costs little, others are served, and memory
// stays where it was.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import http2 from 'node:http2';
import type { ClientHttp2Session } from 'node:http2';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { group, rule, target } from '../../src/edge/edge-fixture.ts';
import { startApp, startEdgeProcess } from '../fixtures/edge-process.ts';
import type { EdgeProgram, Program } from '../fixtures/edge-process.ts';
import { sized } from '../full-size.ts';

const SECONDS = sized({ usual: 1, full: 3 });
const CONNECTIONS = 10;
const GROWTH_BYTES = 50 * 1024 * 1024;
/** Whether such a flood ends its connections, or is merely cheap. */
const FLOODS: Readonly<Record<string, 'ended' | 'borne'>> = {
  'rapid reset': 'ended',
  'resets that the server is made to send': 'ended',
  continuations: 'ended',
  'empty continuations': 'ended',
  'empty data': 'ended',
  'one byte at a time': 'ended',
  settings: 'ended',
  pings: 'ended',
  priorities: 'ended',
  'window updates': 'ended',
  'fields that unpack to megabytes': 'ended',
  'requests that never end': 'borne',
  'answers that nobody reads': 'borne',
};

const request = (session: ClientHttp2Session): Promise<boolean> =>
  new Promise((resolve) => {
    const stream = session.request({ ':path': '/', ':authority': 'honest.localhost' });
    let status = 0;
    stream.on('response', (headers) => {
      status = headers[':status'] ?? 0;
    });
    stream.on('error', () => undefined);
    stream.on('close', () => resolve(status === 200 && stream.rstCode === 0));
    stream.resume();
  });

describe('floods of HTTP/2 frames', () => {
  let attacked: Program;
  let honest: Program;
  let edge: EdgeProgram;
  before(async () => {
    attacked = await startApp('hello');
    honest = await startApp('hello');
    edge = await startEdgeProcess({
      rules: [rule('attacked.localhost', 'attacked'), rule('honest.localhost', 'honest')],
      groups: [group('attacked', [target('attacked', attacked.port)]), group('honest', [target('honest', honest.port)])],
    });
    // What the first requests of any kind cost once is no growth.
    const session = http2.connect(`http://127.0.0.1:${edge.port}`);
    for (let round = 0; round < 2_000; round += 1) assert.ok(await request(session));
    session.destroy();
  });
  after(async () => {
    await edge.stop();
    await Promise.all([attacked.stop(), honest.stop()]);
  });

  for (const [name, outcome] of Object.entries(FLOODS))
    test(name, async (t) => {
      const session = http2.connect(`http://127.0.0.1:${edge.port}`);
      const rssBefore = edge.rss();
      const script = join(import.meta.dirname, '../fixtures/h2-attack-child.ts');
      let attacking = true;
      const attack = promisify(execFile)(process.execPath, [
        script,
        String(edge.port),
        name,
        outcome,
        String(SECONDS),
        String(CONNECTIONS),
      ]).finally(() => {
        attacking = false;
      });
      const latenciesMs: number[] = [];
      let failures = 0;
      let most = 0;
      while (attacking) {
        const beganMs = performance.now();
        if (!(await request(session))) failures += 1;
        latenciesMs.push(performance.now() - beganMs);
        most = Math.max(most, edge.rss());
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      session.destroy();
      // JSON of our own fixture.
      const told = JSON.parse((await attack).stdout) as { readonly rounds: number; readonly connections: number; readonly goaways: number };
      latenciesMs.sort((a, b) => a - b);
      const at = (part: number): string => (latenciesMs[Math.floor(latenciesMs.length * part)] ?? Infinity).toFixed(1);
      t.diagnostic(
        `${told.rounds} rounds on ${told.connections} connections, ${told.goaways} told to go; ${latenciesMs.length} honest requests, ${failures} failed, median ${at(0.5)} ms, p99 ${at(0.99)} ms; memory ${Math.round(rssBefore / 2 ** 20)} MiB, at most ${Math.round((most - rssBefore) / 2 ** 20)} MiB more`,
      );
      assert.equal(failures, 0);
      assert.ok(latenciesMs.length > 0, `${latenciesMs.length} honest requests were answered`);
      assert.ok(most - rssBefore < GROWTH_BYTES, `memory grew by ${Math.round((most - rssBefore) / 2 ** 20)} MiB`);
      if (outcome === 'ended') assert.ok(told.connections > CONNECTIONS, 'no connection was ended');
    });
});
