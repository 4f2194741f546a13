import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { FrameTracker, goingAwayFrame } from './websocket-frames.ts';

function frame(length: number, masked: boolean): Buffer {
  const second = (masked ? 0x80 : 0) | (length < 126 ? length : length < 65_536 ? 126 : 127);
  const extended = Buffer.alloc(length < 126 ? 0 : length < 65_536 ? 2 : 8);
  if (extended.length === 2) extended.writeUInt16BE(length);
  if (extended.length === 8) extended.writeBigUInt64BE(BigInt(length));
  return Buffer.concat([Buffer.from([0x82, second]), extended, Buffer.alloc(masked ? 4 : 0, 7), Buffer.alloc(length, 0x81)]);
}

test('the end of a frame is known however the bytes are cut', () => {
  const lengths = fc.oneof(fc.integer({ min: 0, max: 130 }), fc.constantFrom(125, 126, 127, 65_535, 65_536, 70_000));
  fc.assert(
    fc.property(
      fc.array(fc.tuple(lengths, fc.boolean()), { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1 }),
      (frames, cuts) => {
        const parts = frames.map(([length, masked]) => frame(length, masked));
        const bytes = Buffer.concat(parts);
        const boundaries = new Set([0]);
        let sum = 0;
        for (const part of parts) boundaries.add((sum += part.length));
        const tracker = new FrameTracker();
        let at = 0;
        for (let turn = 0; at < bytes.length; turn += 1) {
          const size = cuts[turn % cuts.length] ?? 1;
          tracker.push(bytes.subarray(at, at + size));
          at = Math.min(bytes.length, at + size);
          assert.equal(tracker.atBoundary, boundaries.has(at));
        }
        assert.equal(tracker.atBoundary, true);
      },
    ),
    { numRuns: 60 },
  );
});

test('the close frames are those of RFC 6455 with code 1001', () => {
  assert.equal(goingAwayFrame('client').toString('hex'), '880203e9');
  assert.equal(goingAwayFrame('target').toString('hex'), '88820000000003e9');
});
