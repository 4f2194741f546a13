import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { LineQueue } from './line-queue.ts';

const textOf = (queue: LineQueue): { readonly text: string; readonly lines: number } => {
  let text = '';
  let lines = 0;
  for (const piece of queue.take()) {
    text += piece.bytes.toString('utf8', 0, piece.length);
    lines += piece.lines;
    queue.giveBack(piece);
  }
  return { text, lines };
};

test('what goes in comes out, whole and in order, however long the lines are and whatever was taken before', () => {
  const line = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 300 }).map((text) => text.toWellFormed()),
    fc.integer({ min: 0, max: 200_000 }).map((length) => 'ü'.repeat(length)),
  );
  fc.assert(
    fc.property(fc.array(fc.array(line, { maxLength: 8 }), { maxLength: 4 }), (batches) => {
      const queue = new LineQueue();
      for (const lines of batches) {
        for (const one of lines) queue.push(one);
        assert.equal(queue.length, Buffer.byteLength(lines.join('')));
        assert.deepEqual(textOf(queue), { text: lines.join(''), lines: lines.length });
        assert.equal(queue.length, 0);
      }
    }),
    { numRuns: 50 },
  );
});

test('bytes that were given back are used again, and never while somebody reads them', () => {
  const queue = new LineQueue();
  queue.push('one\n');
  const [first] = queue.take();
  queue.push('two\n');
  assert.equal(first?.bytes.toString('utf8', 0, first.length), 'one\n');
  const [second] = queue.take();
  if (first === undefined || second === undefined) throw new Error('nothing was taken');
  queue.giveBack(second);
  queue.push('three\n');
  const [third] = queue.take();
  assert.equal(third?.bytes, second.bytes);
});
