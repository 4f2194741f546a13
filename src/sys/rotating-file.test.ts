import assert from 'node:assert/strict';
import { mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createFakeClock } from '../lib/clock.ts';
import { openRotatingFile } from './rotating-file.ts';

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-rotating-'));
  try {
    await run(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const linesOf = async (path: string): Promise<string[]> => (await readFile(path, 'utf8').catch(() => '')).split('\n').slice(0, -1);

test('what does not fit into the queue is dropped, and the count of it stands in the file', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'a.log');
    const file = openRotatingFile(path, 1_000_000, { queueBytes: 30 });
    for (let index = 0; index < 10; index += 1) file.write(`line ${index} ..\n`);
    assert.equal(file.lost(), 7);
    await file.close();
    const lines = await linesOf(path);
    assert.deepEqual(lines.slice(0, -1), ['line 0 ..', 'line 1 ..', 'line 2 ..']);
    assert.equal((JSON.parse(lines.at(-1) ?? '') as { dropped: number }).dropped, 7); // the line that was written for it
  }));

test('lines gather for a while and leave by one write, at once where there are many', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'a.log');
    const clock = createFakeClock();
    const file = openRotatingFile(path, 10_000_000, { gather: { clock, ms: 100 } });
    file.write('one\n');
    await clock.advance(99);
    assert.deepEqual(await linesOf(path), []);
    file.write(`${'x'.repeat(140_000)}\n`);
    file.write('three\n');
    await file.close();
    assert.deepEqual(
      (await linesOf(path)).map((line) => line.length),
      [3, 140_000, 5],
    );
  }));

test('lines that come while others are written gather as those did', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'a.log');
    const clock = createFakeClock();
    const file = openRotatingFile(path, 10_000_000, { gather: { clock, ms: 100 } });
    file.write(`${'x'.repeat(140_000)}\n`);
    file.write('two\n');
    while ((await linesOf(path)).length === 0);
    await clock.advance(0);
    assert.equal((await linesOf(path)).length, 1);
    for (let turn = 0; turn < 100 && (await linesOf(path)).length < 2; turn += 1) await clock.advance(100);
    assert.deepEqual((await linesOf(path))[1], 'two');
    await file.close();
  }));

test('two writers of one path lose no line when one of them sets the file aside', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'a.log');
    const line = (name: string, index: number): string => `${name}${index} ${'.'.repeat(90)}\n`;
    const first = openRotatingFile(path, 4_000);
    const second = openRotatingFile(path, 4_000);
    for (let index = 0; index < 30; index += 1) first.write(line('a', index));
    await first.close();
    for (let index = 0; index < 30; index += 1) second.write(line('b', index));
    await second.close();
    const kept = [...(await linesOf(`${path}.1`)), ...(await linesOf(path))];
    assert.equal(kept.length, 60);
  }));

test('a writer whose file was set aside by another goes on in the new one', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'a.log');
    const file = openRotatingFile(path, 50);
    // What the other one did.
    await rename(path, `${path}.1`);
    file.write(`${'x'.repeat(60)}\n`);
    await new Promise((resolve) => setImmediate(resolve));
    file.write('next\n');
    await file.close();
    const later = openRotatingFile(path, 50);
    later.write('last\n');
    await later.close();
    assert.deepEqual((await linesOf(`${path}.1`)).length, 1);
    assert.ok((await linesOf(path)).includes('last'));
  }));
