import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { isFailure } from './failure.ts';
import { createSseParser, encodeSse, encodeSseComment } from './sse.ts';
import type { SseEvent } from './sse.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const parse = (...chunks: readonly Uint8Array[]): readonly SseEvent[] => {
  const parser = createSseParser();
  return chunks.flatMap((chunk) => parser.push(chunk));
};

/** The bytes, cut at the given fractions. */
function cut(whole: Uint8Array, places: readonly number[]): readonly Uint8Array[] {
  const ends = [...places.map((place) => Math.floor(place * whole.length)), whole.length].sort((a, b) => a - b);
  let start = 0;
  return ends.map((end) => {
    const piece = whole.slice(start, end);
    start = end;
    return piece;
  });
}

const word = fc.string({ unit: fc.constantFrom('a', 'Z', ' ', ':', 'é', '😀', '-', '0'), minLength: 1, maxLength: 12 });
const event = fc.record(
  {
    event: fc.constantFrom('message', 'end', 'problem'),
    id: fc.option(word),
    data: fc.string({ unit: fc.constantFrom('x', '"', '\n', ' ', ':', 'ü', '😀', '\\'), maxLength: 40 }),
  },
  { noNullPrototype: true },
);
const places = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });

test('what is encoded is parsed back, wherever the bytes are cut', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 8 }), places, (events, cuts) => {
      const text = events.map((item) => `${encodeSseComment('alive')}${encodeSse(item)}`).join('');
      assert.deepEqual(parse(...cut(bytes(text), cuts)), events);
    }),
  );
});

test('all three line ends mean the same, also when a chunk ends between \\r and \\n', () => {
  const line = fc.constantFrom('data: a', 'data:b', 'id: 7', 'event: end', ': note', 'retry: 5', 'data', '');
  fc.assert(
    fc.property(fc.array(fc.tuple(line, fc.constantFrom('\n', '\r', '\r\n')), { maxLength: 20 }), places, (lines, cuts) => {
      // `\r` before an empty line that ends with `\n` would read as one `\r\n`: close each line as written only where it is unambiguous.
      const mixed = lines.map(([text, end], index) => text + (end === '\r' && lines[index + 1]?.[0] === '' ? '\n' : end)).join('');
      const plain = lines.map(([text]) => `${text}\n`).join('');
      assert.deepEqual(parse(...cut(bytes(`${mixed}\n\n`), cuts)), parse(bytes(`${plain}\n\n`)));
    }),
  );
});

test('an event without data is not handed out, and its id does not leak into the next one', () => {
  assert.deepEqual(parse(bytes('id: 1\n\ndata: x\n\n')), [{ event: 'message', id: null, data: 'x' }]);
});

test('an event beyond the bound is refused, however it is cut', () => {
  const refuse = (chunks: readonly Uint8Array[]): void => {
    const parser = createSseParser({ maxEventLength: 100 });
    assert.throws(
      () => chunks.forEach((chunk) => parser.push(chunk)),
      (error) => isFailure(error, 'too_large'),
    );
  };
  refuse([bytes(`data: ${'x'.repeat(200)}`)]);
  refuse(Array.from({ length: 200 }, () => bytes('x')));
  refuse([bytes('data: 1234567890\n'.repeat(20))]);
});

test('the bound holds for each event alone', () => {
  const parser = createSseParser({ maxEventLength: 100 });
  const events = Array.from({ length: 50 }, () => parser.push(bytes(`data: ${'x'.repeat(80)}\n\n`))).flat();
  assert.equal(events.length, 50);
});

test('an id with a line end is refused when encoding', () => {
  assert.throws(() => encodeSse({ id: 'a\nb', data: '' }));
  assert.throws(() => encodeSse({ event: 'a\rb', data: '' }));
});
