import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import * as fc from 'fast-check';
import { createFakeClock, systemClock } from '../lib/clock.ts';
import { LINE_MAX_BYTES, readLog } from './log-reader.ts';
import type { SegmentLine } from './log-reader.ts';
import { FRAME_HEADER_BYTES, listSegments, openLogWriter, segmentName, START_BYTES } from './log-segments.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'libra-log-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const MIB = 1024 * 1024;
const never = new AbortController().signal;

interface Wanted {
  readonly tail?: number;
  readonly after?: string;
}

async function read(options: Wanted = {}, from = folder): Promise<SegmentLine[]> {
  const lines: SegmentLine[] = [];
  for await (const line of readLog(from, { ...options, follow: false, signal: never, clock: systemClock })) lines.push(line);
  return lines;
}

const texts = (lines: readonly SegmentLine[], stream?: string): string[] =>
  lines.filter((line) => stream === undefined || line.stream === stream).map((line) => line.text);

const diskBytes = (): number => readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);

test('lines come back with their stream, time and text', async () => {
  const clock = createFakeClock(1_000_000);
  const writer = openLogWriter(folder, MIB, () => clock.now());
  writer.write('stdout', Buffer.from('one\ntwo\r\n'));
  await clock.advance(5);
  writer.write('stderr', Buffer.from('bad\n'));
  writer.close();
  const lines = await read();
  assert.deepEqual(
    lines.map(({ atMs, stream, text }) => [atMs, stream, text]),
    [
      [1_000_000, 'stdout', 'one'],
      [1_000_000, 'stdout', 'two'],
      [1_000_005, 'stderr', 'bad'],
    ],
  );
});

test('any interleaving of writes gives each stream its own lines, and every cursor continues exactly after its line', async () => {
  const piece = fc.record({
    stream: fc.constantFrom('stdout' as const, 'stderr' as const),
    text: fc.stringMatching(/^[a-zé\n]{0,12}$/),
    reopen: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 25 }), async (pieces) => {
      const place = mkdtempSync(join(folder, 'p-'));
      let writer = openLogWriter(place, MIB, () => 1);
      const expected = { stdout: '', stderr: '' };
      for (const { stream, text, reopen } of pieces) {
        if (reopen) {
          // As after the death of a keeper: the next one goes on in a new segment, in the middle of a line.
          writer.close();
          writer = openLogWriter(place, MIB, () => 1);
        }
        writer.write(stream, Buffer.from(text));
        expected[stream] += text;
      }
      writer.end();
      writer.close();
      const lines = await read({}, place);
      for (const stream of ['stdout', 'stderr'] as const) {
        const wanted = expected[stream].split('\n');
        if (wanted.at(-1) === '') wanted.pop();
        assert.deepEqual(texts(lines, stream), wanted);
      }
      for (const [index, line] of lines.entries()) assert.deepEqual(await read({ after: line.cursor }, place), lines.slice(index + 1));
      for (const tail of [0, 1, 3, 100]) assert.deepEqual(await read({ tail }, place), tail === 0 ? [] : lines.slice(-tail));
      assert.deepEqual(
        lines.map((line) => line.cursor).sort(),
        lines.map((line) => line.cursor),
      );
    }),
    { numRuns: 40 },
  );
});

test('the disk holds at most the bound, and what was deleted is told in its place', async () => {
  const writer = openLogWriter(folder, MIB, () => 1);
  const block = Buffer.alloc(50_000, 'x'.repeat(99) + '\n');
  writer.write('stdout', Buffer.from('first\n'));
  const [first] = await read();
  for (let round = 0; round < 200; round += 1) {
    writer.write('stdout', block);
    assert.ok(diskBytes() <= MIB, `${diskBytes()} bytes on disk`);
  }
  writer.close();
  assert.ok(first !== undefined);
  const lines = await read({ after: first.cursor });
  const dropped = /^… (\d+) bytes were dropped$/.exec(lines[0]?.text ?? '');
  assert.ok(dropped !== null, texts(lines)[0] ?? 'no line');
  assert.ok(Number(dropped[1]) > 9 * MIB - MIB && Number(dropped[1]) < 10 * MIB);
  assert.equal(texts(lines).filter((text) => text.includes('dropped')).length, 1);
});

test('many short runs do not fill the folder with files', () => {
  for (let run = 0; run < 200; run += 1) {
    const writer = openLogWriter(folder, MIB, () => 1);
    writer.write('stdout', Buffer.from('started\n'));
    writer.close();
  }
  assert.ok(listSegments(folder).length <= 64);
});

test('a frame cut off by a kill is read as far as it goes, and what a later writer adds follows', async () => {
  const writer = openLogWriter(folder, MIB, () => 1);
  writer.write('stdout', Buffer.from('whole\n'));
  writer.write('stdout', Buffer.from('cut here and lost\n'));
  writer.close();
  const path = join(folder, segmentName(1));
  truncateSync(path, statSync(path).size - 10);
  assert.deepEqual(texts(await read()), ['whole']);
  const next = openLogWriter(folder, MIB, () => 1);
  next.write('stdout', Buffer.from(' | after\n'));
  next.close();
  assert.deepEqual(texts(await read()), ['whole', 'cut here | after']);
});

test('bytes that are no frame end their segment with a notice instead of an error', async () => {
  const writer = openLogWriter(folder, MIB, () => 1);
  writer.write('stdout', Buffer.from('good\n'));
  writer.close();
  appendFileSync(join(folder, segmentName(1)), Buffer.alloc(4096));
  const next = openLogWriter(folder, MIB, () => 1);
  next.write('stdout', Buffer.from('again\n'));
  next.close();
  assert.deepEqual(texts(await read()), ['good', '… 4096 bytes were dropped', 'again']);
});

test('a line longer than the limit is split between characters', async () => {
  const writer = openLogWriter(folder, 4 * MIB, () => 1);
  const long = 'é'.repeat(100_000);
  writer.write('stdout', Buffer.from(`x${long}\n`));
  writer.close();
  const lines = await read();
  assert.equal(texts(lines).join(''), `x${long}`);
  assert.ok(lines.every((line) => Buffer.byteLength(line.text) <= LINE_MAX_BYTES));
  const [head, ...rest] = lines;
  assert.deepEqual(await read({ after: head?.cursor ?? '' }), rest);
});

test('invalid UTF-8 is replaced, never thrown', async () => {
  const writer = openLogWriter(folder, MIB, () => 1);
  writer.write('stdout', Buffer.from([0x61, 0xff, 0xfe, 0x62, 0x0a]));
  writer.close();
  assert.deepEqual(texts(await read()), ['a\ufffd\ufffdb']);
});

test('a follower gets new lines, across rotation, and ends with its signal', async () => {
  const writer = openLogWriter(folder, MIB, () => 1);
  const stop = new AbortController();
  const got: string[] = [];
  const following = (async () => {
    for await (const line of readLog(folder, { follow: true, signal: stop.signal, clock: systemClock })) {
      got.push(line.text);
      if (line.text === 'last') stop.abort();
    }
  })();
  const filler = Buffer.alloc(30_000, `${'y'.repeat(59)}\n`);
  for (let round = 0; round < 15; round += 1) writer.write('stdout', filler);
  writer.write('stdout', Buffer.from('last\n'));
  await following;
  writer.close();
  assert.ok(listSegments(folder).length > 3);
  assert.equal(got.length, 15 * 500 + 1);
});

test('a follower whose next segments were deleted is told how much it missed', async () => {
  const writer = openLogWriter(folder, MIB, () => 1);
  writer.write('stdout', Buffer.from('before\n'));
  const stop = new AbortController();
  const follower = readLog(folder, { follow: true, signal: stop.signal, clock: systemClock });
  assert.equal((await follower.next()).value?.text, 'before');
  const filler = Buffer.alloc(60_000, `${'z'.repeat(59)}\n`);
  for (let round = 0; round < 6; round += 1) writer.write('stdout', filler);
  writer.close();
  const [, second = 0] = listSegments(folder);
  const missed = statSync(join(folder, segmentName(second))).size;
  unlinkSync(join(folder, segmentName(second)));
  let notice: string | undefined;
  for await (const line of follower) {
    if (!line.text.startsWith('…')) continue;
    notice = line.text;
    stop.abort();
  }
  assert.equal(notice, `… ${missed} bytes were dropped`);
});

test('a log that was deleted and begun anew is read from its begin even with an old cursor', async () => {
  const writer = openLogWriter(folder, MIB, () => 1);
  writer.write('stdout', Buffer.from('a long first life\n'.repeat(100)));
  writer.close();
  const old = (await read()).at(-1)?.cursor ?? '';
  for (const name of readdirSync(folder)) unlinkSync(join(folder, name));
  const fresh = openLogWriter(folder, MIB, () => 1);
  fresh.write('stdout', Buffer.from('new\n'));
  fresh.close();
  assert.deepEqual(texts(await read({ after: old })), ['new']);
});

test('an invalid cursor is refused as invalid input', async () => {
  await assert.rejects(read({ after: '../../etc/passwd' }), { code: 'invalid_input' });
});

test('a frame costs twelve bytes, not bytes per line', () => {
  const writer = openLogWriter(folder, MIB, () => 1);
  const before = statSync(folder).size;
  assert.ok(before > 0);
  writer.write('stdout', Buffer.from('x\n'.repeat(1000)));
  writer.close();
  assert.equal(readFileSync(join(folder, segmentName(1))).length, FRAME_HEADER_BYTES + START_BYTES + FRAME_HEADER_BYTES + 2000);
});
