// Very many connections that are as slow as they may be, in each of the four ways of slowhttptest: an honest client does not notice,
// and memory does not grow without bound.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { group, rule, target } from '../../src/edge/edge-fixture.ts';
import { startApp, startEdgeProcess } from '../fixtures/edge-process.ts';
import type { Program } from '../fixtures/edge-process.ts';
import { sized } from '../full-size.ts';
import { lacking } from '../requirements.ts';

const CONNECTIONS = sized({ usual: 1_000, full: 2_000 });
const SECONDS = sized({ usual: 6, full: 12 });
/** Or so many times what it takes while nobody attacks: other tests have the machine too. */
const HONEST_P99_MS = 100;
const HONEST_TIMES = 5;
const GROWTH_BYTES = 200 * 1024 * 1024;
const HONEST = 'honest.localhost';

const MODES = {
  'slow heads': ['-H', '-i', '2'],
  'slow bodies': ['-B', '-i', '2', '-s', '8192'],
  ranges: ['-R', '-a', '5', '-b', '3000'],
  'slow reading': ['-X', '-n', '2', '-w', '10', '-y', '20', '-z', '32'],
} as const;

interface HonestClient {
  ask(): Promise<void>;
  /** What it saw, the quickest answer first. */
  stop(): { readonly latenciesMs: readonly number[]; readonly failures: number; readonly p99: number };
}

/** Asks again and again on one connection. */
function honestClient(edge: Program): HonestClient {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const latenciesMs: number[] = [];
  let failures = 0;
  return {
    ask: async () => {
      const beganMs = performance.now();
      const ok = await new Promise<boolean>((resolve) => {
        const request = get({ host: '127.0.0.1', port: edge.port, path: '/', agent, headers: { host: HONEST } }, (response) => {
          response.resume();
          response.on('end', () => resolve(response.statusCode === 200));
        });
        request.on('error', () => resolve(false));
      });
      latenciesMs.push(performance.now() - beganMs);
      if (!ok) failures += 1;
      await new Promise((resolve) => setTimeout(resolve, 5));
    },
    stop: () => {
      agent.destroy();
      latenciesMs.sort((a, b) => a - b);
      return { latenciesMs, failures, p99: latenciesMs[Math.floor(latenciesMs.length * 0.99)] ?? Infinity };
    },
  };
}

describe('slow clients', { skip: lacking('slowhttptest') }, () => {
  /** Who is attacked, and who shall not notice: what is measured is the Edge between them. */
  let attacked: Program;
  let honest: Program;
  let edge: Program;
  let quietP99 = 0;
  before(async () => {
    attacked = await startApp('hello');
    honest = await startApp('hello');
    edge = await startEdgeProcess({
      rules: [rule('127.0.0.1', 'attacked'), rule(HONEST, 'honest')],
      groups: [group('attacked', [target('attacked', attacked.port)]), group('honest', [target('honest', honest.port)])],
    });
    const quiet = honestClient(edge);
    for (let count = 0; count < 200; count += 1) await quiet.ask();
    quietP99 = quiet.stop().p99;
  });
  after(async () => {
    await edge.stop();
    await Promise.all([attacked.stop(), honest.stop()]);
  });

  for (const [name, words] of Object.entries(MODES)) {
    test(`${CONNECTIONS} with ${name} cost an honest client nothing`, async (t) => {
      // Bodies go to where they are waited for: an answer before the body would end the attack.
      const path = { 'slow reading': '/big?bytes=100000', 'slow bodies': '/echo' }[name] ?? '/';
      const attack = spawn(
        'slowhttptest',
        [
          ...words,
          '-c',
          String(CONNECTIONS),
          '-r',
          String(CONNECTIONS / 2),
          '-l',
          String(SECONDS),
          '-p',
          '10',
          '-u',
          `http://127.0.0.1:${edge.port}${path}`,
        ],
        { stdio: 'ignore' },
      );
      const ended = once(attack, 'exit');
      const client = honestClient(edge);
      let attacking = true;
      let most = 0;
      const rssBefore = edge.rss();
      void ended.then(() => (attacking = false));
      while (attacking) {
        await client.ask();
        most = Math.max(most, edge.rss());
      }
      const { latenciesMs, failures, p99 } = client.stop();
      t.diagnostic(
        `${latenciesMs.length} honest requests, ${failures} failed, median ${latenciesMs[latenciesMs.length >> 1]?.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms; memory ${Math.round(rssBefore / 2 ** 20)} MiB, at most ${Math.round(most / 2 ** 20)} MiB`,
      );
      assert.equal(failures, 0);
      // Enough for a percentile to mean something; the shortest attack lasts three seconds.
      assert.ok(latenciesMs.length >= 100, `${latenciesMs.length} honest requests`);
      assert.ok(p99 < Math.max(HONEST_P99_MS, HONEST_TIMES * quietP99), `p99 is ${p99} ms, ${quietP99} while nobody attacks`);
      assert.ok(most - rssBefore < GROWTH_BYTES);
    });
  }
});
