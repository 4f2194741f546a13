import assert from 'node:assert/strict';
import { PassThrough, Readable } from 'node:stream';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { mergeOutput } from './merge-output.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void; // what the flag puts there

test('both streams come whole, each in its order', async () => {
  const words = { stdout: ['a', 'b', 'c'], stderr: ['x', 'y'] };
  const of = (list: readonly string[]): Readable => Readable.from(list.map((word) => Buffer.from(word)));
  const got: Record<string, string[]> = { stdout: [], stderr: [] };
  for await (const { stream, chunk } of mergeOutput(of(words.stdout), of(words.stderr))) got[stream]?.push(Buffer.from(chunk).toString());
  assert.deepEqual(got, words);
});

test('what one stream says comes while the other is silent', async () => {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const merged = mergeOutput(stdout, stderr);
  for (const word of ['one', 'two']) {
    stdout.write(word);
    assert.deepEqual(await merged.next(), { done: false, value: { stream: 'stdout', chunk: Buffer.from(word) } });
  }
  stdout.end();
  stderr.end('last');
  assert.deepEqual(await merged.next(), { done: false, value: { stream: 'stderr', chunk: Buffer.from('last') } });
  assert.equal((await merged.next()).done, true);
});

test('a stream that breaks breaks the whole', async () => {
  const stdout = new PassThrough();
  const merged = mergeOutput(stdout, new PassThrough());
  stdout.destroy(new Error('gone'));
  await assert.rejects(merged.next(), /gone/u);
});

test('a long output beside a silent stream leaves nothing behind', async () => {
  const busy = Readable.from(
    (function* () {
      for (;;) yield Buffer.alloc(8);
    })(),
  );
  const merged = mergeOutput(busy, new PassThrough());
  const heapAfter = async (chunks: number): Promise<number> => {
    for (let index = 0; index < chunks; index += 1) await merged.next();
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    return process.memoryUsage().heapUsed;
  };
  const before = await heapAfter(2000);
  const bytesPerChunk = ((await heapAfter(20_000)) - before) / 20_000;
  assert.ok(bytesPerChunk < 64, `${bytesPerChunk} bytes stay behind for each chunk`);
});
