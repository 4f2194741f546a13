// What every blob engine must do, as tests, in the time of a fake clock.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { createFakeClock } from '../lib/clock.ts';
import type { FakeClock } from '../lib/clock.ts';
import { isFailure } from '../lib/failure.ts';
import type { FailureCode } from '../lib/failure.ts';
import type { BlobInfo, BlobStore, Digest } from './blob.ts';

export interface BlobsUnderTest {
  readonly blobs: BlobStore;
  /** Closes it and removes what it left. */
  readonly close: () => Promise<void>;
}

export type OpenBlobs = (options: { readonly clock: FakeClock; readonly maxBytes: number }) => Promise<BlobsUnderTest>;

const MAX_BYTES = 200_000;
const HOUR_MS = 3_600_000;

export const digestOf = (bytes: Buffer): Digest => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
export const bodyOf = (...chunks: readonly Buffer[]): Readable => Readable.from(chunks.filter((chunk) => chunk.length > 0));
export const rejectsWith = (promise: Promise<unknown>, code: FailureCode): Promise<void> =>
  assert.rejects(promise, (error: unknown) => isFailure(error, code) || assert.fail(`expected ${code}, got ${String(error)}`));

/** Runs the whole contract on the engine that `open` opens. */
export function blobContract(name: string, open: OpenBlobs): void {
  const withBlobs = async (run: (blobs: BlobStore, clock: FakeClock) => Promise<void>): Promise<void> => {
    const clock = createFakeClock();
    const under = await open({ clock, maxBytes: MAX_BYTES });
    try {
      await run(under.blobs, clock);
    } finally {
      await under.close();
    }
  };

  describe(`the blob contract on ${name}`, { timeout: 30_000 }, () => {
    const data = Buffer.from('the quick brown fox '.repeat(5000));
    const digest = digestOf(data);
    const store = (blobs: BlobStore, bytes: Buffer): Promise<BlobInfo | undefined> =>
      blobs.upload(digestOf(bytes), { offset: 0, final: true, body: bodyOf(bytes) });

    it('keeps a blob under its digest', () =>
      withBlobs(async (blobs, clock) => {
        assert.equal(await blobs.stat(digest), undefined);
        await rejectsWith(blobs.read(digest), 'not_found');
        const info = { digest, sizeBytes: data.length, createdAtMs: clock.now() };
        assert.deepEqual(await store(blobs, data), info);
        assert.deepEqual(await blobs.stat(digest), info);
        assert.deepEqual(await buffer(await blobs.read(digest)), data);
        assert.deepEqual(await Array.fromAsync(blobs.list()), [info]);
        assert.equal(await blobs.usage(), data.length);
      }));

    it('keeps equal content once', () =>
      withBlobs(async (blobs, clock) => {
        const first = await store(blobs, data);
        await clock.advance(1000);
        assert.deepEqual(await store(blobs, data), first);
        assert.equal(await blobs.usage(), data.length);
      }));

    it('keeps an empty blob too', () =>
      withBlobs(async (blobs) => {
        const empty = Buffer.alloc(0);
        assert.equal((await store(blobs, empty))?.sizeBytes, 0);
        assert.equal((await buffer(await blobs.read(digestOf(empty)))).length, 0);
      }));

    it('goes on with an upload where it stopped, and nowhere else', () =>
      withBlobs(async (blobs) => {
        assert.equal(await blobs.uploadOffset(digest), 0);
        assert.equal(await blobs.upload(digest, { offset: 0, final: false, body: bodyOf(data.subarray(0, 70_000)) }), undefined);
        assert.equal(await blobs.uploadOffset(digest), 70_000);
        for (const offset of [0, 69_999, 70_001]) {
          const wrong = blobs.upload(digest, { offset, final: true, body: bodyOf(data.subarray(offset)) });
          await assert.rejects(wrong, (error) => isFailure(error, 'conflict') && error.details?.['offset'] === 70_000);
        }
        assert.equal((await blobs.upload(digest, { offset: 70_000, final: true, body: bodyOf(data.subarray(70_000)) }))?.digest, digest);
        assert.equal(await blobs.uploadOffset(digest), 0);
        assert.deepEqual(await buffer(await blobs.read(digest)), data);
      }));

    it('never shows an unfinished upload', () =>
      withBlobs(async (blobs) => {
        await blobs.upload(digest, { offset: 0, final: false, body: bodyOf(data) });
        assert.equal(await blobs.stat(digest), undefined);
        await rejectsWith(blobs.read(digest), 'not_found');
        assert.deepEqual(await Array.fromAsync(blobs.list()), []);
        assert.equal(await blobs.usage(), data.length);
        assert.equal((await blobs.upload(digest, { offset: data.length, final: true, body: bodyOf() }))?.sizeBytes, data.length);
      }));

    it('throws away what does not have its digest', () =>
      withBlobs(async (blobs) => {
        await rejectsWith(blobs.upload(digest, { offset: 0, final: true, body: bodyOf(data, Buffer.from('!')) }), 'bundle_invalid');
        assert.equal(await blobs.uploadOffset(digest), 0);
        assert.equal(await blobs.stat(digest), undefined);
        assert.equal(await blobs.usage(), 0);
        assert.equal((await store(blobs, data))?.digest, digest);
      }));

    it('refuses what is larger than the limit, at once or in pieces', () =>
      withBlobs(async (blobs) => {
        const large = Buffer.alloc(MAX_BYTES + 1);
        await rejectsWith(store(blobs, large), 'too_large');
        const half = large.subarray(0, MAX_BYTES);
        await blobs.upload(digestOf(large), { offset: 0, final: false, body: bodyOf(half) });
        await rejectsWith(blobs.upload(digestOf(large), { offset: MAX_BYTES, final: true, body: bodyOf(Buffer.alloc(1)) }), 'too_large');
        assert.equal(await blobs.usage(), 0);
        assert.equal((await store(blobs, half))?.sizeBytes, MAX_BYTES);
      }));

    it('keeps what came of an upload that broke off', () =>
      withBlobs(async (blobs) => {
        const body = new PassThrough();
        const upload = blobs.upload(digest, { offset: 0, final: true, body });
        body.write(data.subarray(0, 50_000));
        await reached(blobs, 50_000);
        body.destroy(new Error('the line went dead'));
        await rejectsWith(upload, 'canceled');
        assert.equal(await blobs.uploadOffset(digest), 50_000);
        assert.ok(await blobs.upload(digest, { offset: 50_000, final: true, body: bodyOf(data.subarray(50_000)) }));
      }));

    it('ends an upload whose sender fell silent', () =>
      withBlobs(async (blobs, clock) => {
        const body = new PassThrough();
        const upload = rejectsWith(blobs.upload(digest, { offset: 0, final: true, body }), 'timeout');
        body.write(data.subarray(0, 1000));
        await reached(blobs, 1000);
        await clock.advance(HOUR_MS);
        await upload;
        assert.equal(await blobs.uploadOffset(digest), 1000);
      }));

    const reached = async (blobs: BlobStore, offset: number): Promise<void> => {
      while ((await blobs.uploadOffset(digest)) < offset) await new Promise((resolve) => setImmediate(resolve));
    };

    it('takes one upload of a digest at a time, and different ones side by side', () =>
      withBlobs(async (blobs) => {
        const body = new PassThrough();
        const first = blobs.upload(digest, { offset: 0, final: true, body });
        body.write(data.subarray(0, 10));
        await reached(blobs, 10);
        await rejectsWith(blobs.upload(digest, { offset: 10, final: true, body: bodyOf(data.subarray(10)) }), 'conflict');
        const others = Array.from({ length: 10 }, (_, index) => Buffer.from(`blob ${index}`));
        await Promise.all(others.map((bytes) => store(blobs, bytes)));
        body.end(data.subarray(10));
        assert.equal((await first)?.digest, digest);
        assert.equal((await Array.fromAsync(blobs.list())).length, 11);
      }));

    it('reads ranges as HTTP counts them: both ends included', () =>
      withBlobs(async (blobs) => {
        await store(blobs, data);
        const read = async (start: number, end?: number): Promise<Buffer> => await buffer(await blobs.read(digest, { start, end }));
        assert.deepEqual(await read(0, 0), data.subarray(0, 1));
        assert.deepEqual(await read(10, 19), data.subarray(10, 20));
        assert.deepEqual(await read(99_990), data.subarray(99_990));
        assert.deepEqual(await read(99_990, 10_000_000), data.subarray(99_990));
        for (const [start, end] of [
          [data.length, undefined],
          [5, 4],
          [-1, 4],
          [0.5, 4],
        ] as const) {
          await rejectsWith(blobs.read(digest, { start, end }), 'invalid_input');
        }
      }));

    it('takes nothing but a digest for a name', () =>
      withBlobs(async (blobs) => {
        const hex = digest.slice('sha256:'.length);
        const names = [
          '',
          hex,
          `sha512:${hex}`,
          `sha256:${hex.toUpperCase()}`,
          `sha256:${hex}/`,
          `sha256:../${hex.slice(3)}`,
          `${digest}\n`,
        ];
        for (const bad of [...names, 'sha256:', '../../etc/passwd', `sha256:${hex}0`]) {
          await rejectsWith(blobs.stat(bad), 'invalid_input');
          await rejectsWith(blobs.read(bad), 'invalid_input');
          await rejectsWith(blobs.uploadOffset(bad), 'invalid_input');
          await rejectsWith(blobs.upload(bad, { offset: 0, final: true, body: bodyOf(data) }), 'invalid_input');
        }
        assert.equal(await blobs.usage(), 0);
      }));

    it('collects what nobody keeps and nobody wanted lately', () =>
      withBlobs(async (blobs, clock) => {
        const [kept, old, wanted, uploadedAgain] = ['kept', 'old', 'wanted', 'uploaded again'].map((text) => Buffer.from(text));
        assert.ok(kept && old && wanted && uploadedAgain);
        for (const bytes of [kept, old, wanted, uploadedAgain]) await store(blobs, bytes);
        await blobs.upload(digest, { offset: 0, final: false, body: bodyOf(data.subarray(0, 100)) });
        const collect = (): Promise<unknown> => blobs.collect({ keep: new Set([digestOf(kept)]), olderThanMs: HOUR_MS });
        await clock.advance(HOUR_MS / 2);
        assert.deepEqual(await collect(), { deleted: 0, freedBytes: 0 });
        await blobs.stat(digestOf(wanted));
        await store(blobs, uploadedAgain);
        await clock.advance(HOUR_MS / 2 + 5000);
        assert.deepEqual(await collect(), { deleted: 2, freedBytes: old.length + 100 });
        const left = (await Array.fromAsync(blobs.list())).map((info) => info.digest);
        assert.deepEqual(left.sort(), [kept, wanted, uploadedAgain].map(digestOf).sort());
        assert.equal(await blobs.uploadOffset(digest), 0);
      }));

    it('leaves running uploads and running reads alone while it collects', () =>
      withBlobs(async (blobs, clock) => {
        const other = Buffer.alloc(150_000, 'z');
        await store(blobs, other);
        const reading = await blobs.read(digestOf(other));
        const body = new PassThrough();
        const upload = blobs.upload(digest, { offset: 0, final: true, body });
        body.write(data.subarray(0, 10));
        await reached(blobs, 10);
        clock.jump(10 * HOUR_MS);
        assert.deepEqual(await blobs.collect({ keep: new Set(), olderThanMs: HOUR_MS }), { deleted: 1, freedBytes: other.length });
        body.end(data.subarray(10));
        assert.equal((await upload)?.digest, digest);
        assert.deepEqual(await buffer(reading), other);
      }));

    it('ends uploads when it closes, keeps what came, and refuses new ones', () =>
      withBlobs(async (blobs) => {
        const body = new PassThrough();
        const upload = rejectsWith(blobs.upload(digest, { offset: 0, final: true, body }), 'unavailable');
        body.write(data.subarray(0, 10));
        await reached(blobs, 10);
        await blobs.close();
        await upload;
        assert.equal(await blobs.uploadOffset(digest), 10);
        await rejectsWith(store(blobs, data), 'unavailable');
      }));

    it('gives back any bytes that came in any pieces', async () => {
      const pieces = fc.array(fc.record({ bytes: fc.uint8Array({ maxLength: 3000 }), final: fc.boolean() }), {
        minLength: 1,
        maxLength: 6,
      });
      await fc.assert(
        fc.asyncProperty(pieces, (parts) =>
          withBlobs(async (blobs) => {
            const whole = Buffer.concat(parts.map(({ bytes }) => bytes));
            const name = digestOf(whole);
            let offset = 0;
            for (const [index, { bytes }] of parts.entries()) {
              const final = index === parts.length - 1;
              await blobs.upload(name, { offset, final, body: bodyOf(Buffer.from(bytes)) });
              offset += bytes.length;
            }
            assert.deepEqual(await buffer(await blobs.read(name)), whole);
          }),
        ),
        { numRuns: 30 },
      );
    });
  });
}
