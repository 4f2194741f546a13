import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { BlobStore } from '../../blob/blob.ts';
import { openFileBlobs } from '../../blob/files.ts';
import { systemClock } from '../../lib/clock.ts';
import { silentLog } from '../../sys/log.ts';
import { parseRange } from '../server-transfer.ts';
import { createPeerBlobs } from './peer-blobs.ts';
import { createPeers } from './peer.ts';

const BYTES = Buffer.from('what a Release runs');
const DIGEST = `sha256:${createHash('sha256').update(BYTES).digest('hex')}`;

/** Another control plane that has the blob, and one that does not answer at all. */
async function setup(context: TestContext): Promise<{ own: BlobStore; all: BlobStore; asked: string[] }> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-peer-blobs-'));
  const own = await openFileBlobs({ folder, maxBytes: 1e6, clock: systemClock });
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers.range ?? 'all'} ${request.headers.authorization}`);
    if (request.url !== `/v1/blobs/${encodeURIComponent(DIGEST)}?here=true`) response.writeHead(404).end();
    else {
      const start = parseRange(request.headers.range)?.start;
      if (start === undefined) response.writeHead(200).end(BYTES);
      else if (start >= BYTES.length) response.writeHead(416).end();
      else response.writeHead(206).end(BYTES.subarray(start));
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const peers = createPeers('');
  const others = (): { id: string; url: string }[] => [
    { id: 'gone', url: 'http://127.0.0.1:1' },
    { id: 'there', url: `http://127.0.0.1:${port}` },
  ];
  context.after(async () => {
    peers.close();
    server.closeAllConnections();
    server.close();
    await own.close();
    await rm(folder, { recursive: true, force: true });
  });
  return { own, all: createPeerBlobs({ own, peers, others, token: 'secret', log: silentLog }), asked };
}

test('a blob that another control plane has is fetched once, checked and kept', async (context) => {
  const { own, all, asked } = await setup(context);
  const found = await Promise.all([all.stat(DIGEST), all.stat(DIGEST)]);
  assert.deepEqual(
    found.map((info) => info?.sizeBytes),
    [BYTES.length, BYTES.length],
  );
  assert.equal(await text(await all.read(DIGEST)), BYTES.toString());
  assert.equal((await own.stat(DIGEST))?.sizeBytes, BYTES.length);
  assert.equal(asked.length, 1);
  assert.match(asked[0] ?? '', / all Bearer secret$/u);
});

test('one that nobody has is not there', async (context) => {
  const { all } = await setup(context);
  assert.equal(await all.stat(`sha256:${'0'.repeat(64)}`), undefined);
});

test('half of one is gone on with, and all of one that was not finished is finished', async (context) => {
  for (const have of [5, BYTES.length]) {
    const { own, all, asked } = await setup(context);
    await own.upload(DIGEST, { offset: 0, final: false, body: Readable.from([BYTES.subarray(0, have)]) });
    assert.equal((await all.stat(DIGEST))?.sizeBytes, BYTES.length);
    assert.match(asked[0] ?? '', new RegExp(` bytes=${have}- `, 'u'));
  }
});
