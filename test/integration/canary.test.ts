// Two versions side by side with the real processes: shares as they arrive at the Instances, promoted, taken back, switched.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { Platform, until } from '../platform.ts';
import type { CliResult } from '../platform.ts';

const HOST = 'shop.localhost';

describe('two versions of an App', () => {
  const platform = new Platform();
  before(() => platform.start());
  after(() => platform.dispose());

  const deploy = async (text: string, ...words: readonly string[]): Promise<CliResult> => {
    const folder = writeApp(platform, 'shop', serverApp({ text, instances: 2 }));
    const result = await platform.cli('deploy', folder, ...words);
    assert.equal(result.code, 0, result.stderr + result.stdout);
    return result;
  };
  const libra = async (...words: readonly string[]): Promise<CliResult> => {
    const result = await platform.cli(...words, '-a', 'shop');
    assert.equal(result.code, 0, result.stderr + result.stdout);
    return result;
  };

  /** How often each text was answered. Fails at the first answer that is none of an App. */
  const ask = async (
    count: number,
    headers: (index: number) => Readonly<Record<string, string>> = () => ({}),
  ): Promise<Map<string, number>> => {
    const seen = new Map<string, number>();
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < count) {
        next += 1;
        const reply = await platform.get(HOST, '/', { headers: headers(next) });
        assert.equal(reply.status, 200, reply.body);
        seen.set(reply.body, (seen.get(reply.body) ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    return seen;
  };
  const only = async (text: string): Promise<void> => assert.deepEqual([...(await ask(60)).keys()], [text]);

  test('a canary gets its share and the requests of its rule, and deploy says how to go on', async () => {
    await deploy('one');
    const result = await deploy('two', '--canary', '20%,header:x-beta=1');
    assert.match(result.stdout, /libra promote --app shop/u);
    assert.equal(result.stdout.trim().split('\n').at(-1), `http://${HOST}:${platform.edgePort}`);
    const seen = await ask(2000);
    assert.deepEqual([...seen.keys()].sort(), ['one', 'two']);
    const share = ((seen.get('two') ?? 0) / 2000) * 100;
    assert.ok(Math.abs(share - 20) < 4.5, `${share} % instead of 20 %`);
    assert.deepEqual([...(await ask(60, () => ({ 'x-beta': '1' }))).keys()], ['two']);
    const shown = JSON.parse((await libra('deployments', '2', '--json')).stdout) as {
      phase: string;
      canary: { percentInForce: number; waits: boolean };
    };
    assert.deepEqual([shown.phase, shown.canary.percentInForce, shown.canary.waits], ['canary', 20, true]);
    await until('the figures are there', 10_000, async () =>
      /stable {2}\d+ requests, 0 % failed, mean .* canary {2}\d+ requests, 0 % failed/su.test((await libra('deployments', '2')).stdout),
    );
    assert.match((await libra('deployments')).stdout, /canary 20 %/u);
  });

  test('what would end a canary unasked is refused, and what was set is kept', async () => {
    for (const words of [['restart'], ['rollback'], ['env', 'set', 'COLOR=red']]) {
      const result = await platform.cli(...words, '-a', 'shop');
      assert.deepEqual([result.code, /libra abort/u.test(result.stderr)], [1, true], words.join(' ') + result.stderr);
    }
    assert.match((await libra('env')).stdout, /COLOR/u);
  });

  test('another share waits again, and kill −9 of librad changes nothing', async () => {
    await libra('promote', '--to', '70%');
    await platform.kill();
    const away = await ask(300);
    assert.ok((away.get('two') ?? 0) > (away.get('one') ?? 0), 'the Edge goes on by itself');
    await platform.start();
    const view = await platform.client().deployments.get({ params: { app: 'shop', environment: 'production', deployment: '2' } });
    assert.deepEqual([view.phase, view.canary?.percentInForce], ['canary', 70]);
    const seen = await ask(300);
    assert.ok((seen.get('two') ?? 0) > (seen.get('one') ?? 0));
  });

  test('promoted, it takes everything', async () => {
    const result = await libra('promote', '--json');
    assert.equal((JSON.parse(result.stdout) as { status: string }).status, 'succeeded');
    await only('two');
  });

  test('aborted, it is gone and the stable one serves', async () => {
    await deploy('three', '--canary', '50%', '--sticky', 'cookie');
    const first = await platform.get(HOST);
    const cookie = String(first.headers['set-cookie']).split(';')[0] ?? '';
    assert.match(cookie, /^libra_user=/u);
    assert.deepEqual([...(await ask(60, () => ({ cookie }))).keys()], [first.body]);
    const result = await libra('abort', '--json');
    assert.equal((JSON.parse(result.stdout) as { status: string }).status, 'canceled');
    await only('two');
    const again = await platform.cli('abort', '-a', 'shop');
    assert.deepEqual([again.code, /Nothing is on its way/u.test(again.stderr)], [5, true], again.stderr);
  });

  test('one that fails, and one that is slow, is taken back by itself in time, and deploy exits with the reason', async () => {
    for (const [change, message] of [
      ['response.statusCode = 500;', /web fails: 100 % of \d+ requests failed, against 0 % of \d+ of the stable Deployment/u],
      ['await new Promise((resolve) => setTimeout(resolve, 250));', /web is slow: p50 of \d+ requests is \d+ ms, against/u],
    ] as const) {
      const files = serverApp({ text: 'bad', instances: 2 });
      const source = (files['server.mjs'] ?? '')
        .replace('createServer((request', 'createServer(async (request')
        .replace('return response.end("bad")', `${change} return response.end("bad")`);
      assert.ok(source.includes(change));
      const folder = writeApp(platform, 'shop', { ...files, 'server.mjs': source });
      let over = false;
      const startedMs = performance.now();
      const result = platform.cli('deploy', folder, '--steps', '20%:10m').finally(() => (over = true));
      // Some twenty requests a second, as they come.
      const asking: Promise<unknown>[] = [];
      await until('the canary was taken back', 45_000, () => {
        asking.push(platform.get(HOST));
        return over;
      });
      await Promise.all(asking);
      const tookMs = performance.now() - startedMs;
      const { code, stderr } = await result;
      assert.equal(code, 1, stderr);
      assert.match(stderr, message);
      assert.ok(tookMs < 30_000, `it took ${Math.round(tookMs)} ms`);
      await only('two');
    }
    const events = (await libra('events', '--json')).stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { kind: string; message: string });
    const failed = events.filter((event) => event.kind === 'deployment.failed').map((event) => event.message);
    assert.deepEqual([failed.length, /web fails/u.test(failed[0] ?? ''), /web is slow/u.test(failed[1] ?? '')], [2, true, true]);
  });

  test('a paused App keeps its requests waiting, through a deploy, and loses none of them', async () => {
    let running = true;
    let answered = 0;
    const failures: string[] = [];
    const loop = async (): Promise<void> => {
      while (running) {
        const reply = await platform.get(HOST).catch((error: unknown) => ({ status: 0, body: String(error) }));
        answered += 1;
        if (reply.status !== 200) failures.push(`${reply.status} ${reply.body}`);
      }
    };
    const loops = Array.from({ length: 20 }, loop);
    await until('requests flow', 5000, () => answered > 50);
    await libra('pause');
    // Whatever was on its way has ended by now; nothing new is answered.
    const held = async (): Promise<boolean> => {
      const before = answered;
      await platform.client().environments.get({ params: { app: 'shop', environment: 'production' } });
      return before === answered && before > 50;
    };
    await until('all of them wait', 5000, held);
    const before = answered;
    await deploy('paused');
    assert.equal(answered, before, 'none was answered while it was paused');
    assert.match((await libra('apps')).stdout, /paused/u);
    await libra('resume');
    await until('they flow again', 5000, () => answered > before + 100);
    running = false;
    await Promise.all(loops);
    assert.deepEqual(failures, []);
    await only('paused');
    await libra('pause', '--max', '0');
    const page = await platform.get(HOST);
    assert.deepEqual([page.status, page.headers['retry-after'], /paused/iu.test(page.body)], [503, '30', true]);
    await libra('resume');
    await deploy('two');
  });

  test('a switch changes everything at once, and back again in under a second', async () => {
    await deploy('four', '--canary', '0%');
    await only('two');
    await libra('promote');
    await only('four');
    const client = platform.client();
    const startedMs = performance.now();
    await client.deployments.create({ params: { app: 'shop', environment: 'production' }, body: { cause: 'rollback' } });
    await until('it answers as before', 5000, async () => (await platform.get(HOST)).body === 'two');
    const tookMs = performance.now() - startedMs;
    assert.ok(tookMs < 1000, `it took ${tookMs} ms`);
    await only('two');
    await until('it has succeeded', 20_000, async () => {
      const { items } = await client.deployments.list({ params: { app: 'shop', environment: 'production' }, query: {} });
      return items[0]?.phase === 'succeeded';
    });
    await only('two');
  });
});
