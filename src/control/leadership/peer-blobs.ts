// Blobs of all control planes as if they were here: one that this one lacks is fetched from another, checked by its digest and kept. Each
// has copies of all that the platform needs, so that any of them can go.

import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { BlobInfo, BlobStore } from '../../blob/blob.ts';
import { messageOf } from '../../lib/failure.ts';
import type { Log } from '../../sys/log.ts';
import type { Peer, Peers } from './peer.ts';

export interface PeerBlobsOptions {
  readonly own: BlobStore;
  readonly peers: Peers;
  /** The other control planes. */
  readonly others: () => readonly Peer[];
  /** A credential of this one that may read blobs. */
  readonly token: string;
  readonly log: Log;
}

/** Also the longest silence in the middle. */
const SILENCE_MS = 10_000;

export function createPeerBlobs({ own, peers, others, token, log }: PeerBlobsOptions): BlobStore {
  const fetching = new Map<string, Promise<void>>();

  const fetchFrom = async (peer: Peer, digest: string): Promise<boolean> => {
    const offset = await own.uploadOffset(digest);
    const headers = { authorization: `Bearer ${token}`, ...(offset === 0 ? {} : { range: `bytes=${offset}-` }) };
    const outgoing = peers.request(peer, { method: 'GET', path: `/v1/blobs/${encodeURIComponent(digest)}?here=true`, headers });
    outgoing.setTimeout(SILENCE_MS, () => outgoing.destroy(new Error(`silent for ${SILENCE_MS} ms`)));
    outgoing.on('error', () => undefined);
    outgoing.end();
    const [reply] = (await once(outgoing, 'response')) as [IncomingMessage]; // what node emits
    const { statusCode } = reply;
    if (statusCode === (offset === 0 ? 200 : 206)) {
      await own.upload(digest, { offset, final: true, body: reply });
      return true;
    }
    reply.resume();
    if (statusCode !== 416) return false;
    // There is nothing behind what is here: it is all of it, or what is no good is dropped.
    await own.upload(digest, { offset, final: true, body: Readable.from([]) });
    return true;
  };

  const fetchOnce = async (digest: string): Promise<void> => {
    for (const peer of others()) {
      try {
        if (!(await fetchFrom(peer, digest))) continue;
        log.info({ digest, from: peer.url }, 'a blob was copied from another control plane');
        return;
      } catch (error) {
        log.warn({ digest, from: peer.url, error: messageOf(error) }, 'a blob cannot be copied from another control plane');
      }
    }
  };

  const stat = async (digest: string): Promise<BlobInfo | undefined> => {
    const known = await own.stat(digest);
    if (known !== undefined) return known;
    const going = fetching.get(digest) ?? fetchOnce(digest).finally(() => fetching.delete(digest));
    fetching.set(digest, going);
    await going;
    return await own.stat(digest);
  };

  return {
    stat,
    read: async (digest, range) => {
      await stat(digest);
      return await own.read(digest, range);
    },
    uploadOffset: (digest) => own.uploadOffset(digest),
    upload: (digest, options) => own.upload(digest, options),
    list: () => own.list(),
    collect: (options) => own.collect(options),
    usage: () => own.usage(),
    close: () => own.close(),
  };
}
