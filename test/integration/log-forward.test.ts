// Forwarded output end to end: the receiver comes and goes, answers badly, breaks connections off, and librad is killed meanwhile. Every
// line arrives, in order per Instance, and what comes twice can be told.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeApp } from '../fixtures/app-folder.ts';
import { Platform, until } from '../platform.ts';

interface Received {
  readonly instance: string;
  readonly sequence: string;
  readonly text: string;
  readonly app: string;
  readonly entrypoint: string;
}

type Mood = 'takes' | 'takes and breaks off' | 'refuses';

/** A receiver on a port that it has again after it was away. */
class Receiver {
  readonly lines: Received[] = [];
  mood: Mood = 'takes';
  authorization: string | undefined;
  port = 0;
  #server: http.Server | null = null;

  async start(): Promise<void> {
    const server = http.createServer((request, response) => {
      void (async () => {
        const chunks: Buffer[] = [];
        for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
        if (this.mood === 'refuses') {
          response.writeHead(503).end();
          return;
        }
        this.authorization = request.headers.authorization;
        for (const line of Buffer.concat(chunks).toString().trimEnd().split('\n')) this.lines.push(JSON.parse(line) as Received); // our own form
        if (this.mood === 'takes') response.writeHead(204).end();
        else request.socket.resetAndDestroy();
      })().catch(() => undefined);
    });
    server.listen(this.port, '127.0.0.1');
    await once(server, 'listening');
    this.port = (server.address() as AddressInfo).port; // it listens on a port
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
}

const app = {
  'libra.yaml': `app: counter
entrypoints:
  work: { command: node work.mjs, instances: 2, resources: { cpu: 0.2, memory: 128Mi } }
`,
  'work.mjs': `let n = 0; setInterval(() => { for (let i = 0; i < 5; i += 1) console.log('line ' + n++); }, 20);
process.on('SIGTERM', () => { console.log('bye'); process.exit(0); });`,
};

test('every line arrives, in order, while the receiver comes and goes and librad is killed', async (t) => {
  const receiver = new Receiver();
  await receiver.start();
  const url = `http://127.0.0.1:${receiver.port}/in?key=hidden`;
  const platform = new Platform({ env: { LIBRA_LOG_FORWARD: url } });
  writeFileSync(join(platform.data, 'headers'), 'Authorization: Bearer receiver-key\n');
  const started = new Platform({
    data: platform.data,
    env: { LIBRA_LOG_FORWARD: url, LIBRA_LOG_FORWARD_HEADERS: join(platform.data, 'headers') },
  });
  try {
    await started.start();
    const deployed = await started.cli('deploy', writeApp(started, 'counter', app));
    assert.equal(deployed.code, 0, deployed.stderr);
    const mine = (): Received[] => receiver.lines.filter((line) => line.entrypoint === 'work');
    const more = async (what: string): Promise<void> => {
      const before = mine().length;
      await until(what, 30_000, () => mine().length > before + 200);
    };
    await more('output arrives');
    assert.equal(receiver.authorization, 'Bearer receiver-key');

    await receiver.stop();
    await until('the platform says so', 20_000, async () =>
      /is not forwarded to http:\/\/127\.0\.0\.1:\d+\/in at the moment/u.test((await started.cli('status')).stderr),
    );
    await receiver.start();
    await more('it goes on when the receiver is back');
    receiver.mood = 'takes and breaks off';
    await more('what is not confirmed comes again');
    receiver.mood = 'refuses';
    await started.kill();
    await started.start();
    receiver.mood = 'takes';
    await more('it goes on after a kill');

    const texts = new Map<string, string[]>();
    const reached = new Map<string, string>();
    let twice = 0;
    for (const { instance, sequence, text } of mine()) {
      if (sequence <= (reached.get(instance) ?? '')) {
        twice += 1;
        continue;
      }
      reached.set(instance, sequence);
      texts.set(instance, [...(texts.get(instance) ?? []), text]);
    }
    assert.equal(texts.size, 2);
    for (const list of texts.values())
      assert.deepEqual(
        list,
        list.map((_, index) => `line ${index}`),
      );
    assert.ok(twice > 0, 'the receiver took some and did not say so');
    t.diagnostic(`${mine().length} lines, ${twice} of them again`);

    const deleted = await started.cli('apps', 'delete', 'counter', '--yes');
    assert.equal(deleted.code, 0, deleted.stderr);
    await until('the last words of both arrive', 20_000, () => mine().filter(({ text }) => text === 'bye').length === 2);
    await until('the metrics count what is forwarded', 20_000, async () => {
      const metrics = await fetch(`${started.addresses.api}/metrics`, { headers: { authorization: `Bearer ${started.token()}` } });
      return /^libra_log_forward_lines_total\{node="test-node",target="http:\/\/127\.0\.0\.1:\d+\/in"\} [1-9]\d*$/mu.test(
        await metrics.text(),
      );
    });
    assert.doesNotMatch(readFileSync(join(started.data, 'logs/librad.log'), 'utf8'), /hidden|receiver-key/u);
  } finally {
    await started.stop();
    await started.dispose();
    await receiver.stop();
    await platform.dispose();
  }
});

test('targets that are none are refused before anything starts, and show no login', async () => {
  const platform = new Platform();
  for (const [target, why] of [
    ['ftp://x', /begins with none of/u],
    ['https://me:secret-word@logs.example.com', /holds a login/u],
    ['http://a/x,http://a/x?y=1', /each of them once/u],
  ] as const) {
    const { code, stderr } = await platform.startFailing('--log-forward', target);
    assert.equal(code, 2, stderr);
    assert.match(stderr, why);
    assert.doesNotMatch(stderr, /secret-word/u);
  }
  writeFileSync(join(platform.data, 'headers'), 'Authorization secret-word\n');
  const { code, stderr } = await platform.startFailing(
    '--log-forward',
    'http://127.0.0.1:1',
    '--log-forward-headers',
    join(platform.data, 'headers'),
  );
  assert.equal(code, 2, stderr);
  assert.match(stderr, /line 1 that is no "Name: value"/u);
  assert.doesNotMatch(stderr, /secret-word/u);
  await platform.dispose();
});
