// Uploads and downloads of bundles and build results. A digest is no secret and no permission: whoever may make Releases may ask for it.

import type { ApiTable } from '../../api/table.ts';
import { digestShape } from '../../api/shapes.ts';
import type { BlobStore } from '../../blob/blob.ts';
import { Failure } from '../../lib/failure.ts';
import type { NounHandlers } from '../handler.ts';
import { z } from 'zod';

const digestOf = digestShape(z);

function checked(digest: string): string {
  if (!digestOf.safeParse(digest).success) {
    throw new Failure('invalid_input', {
      message: `${JSON.stringify(digest.slice(0, 80))} is no digest.`,
      hint: 'It is sha256: and 64 hex digits.',
    });
  }
  return digest;
}

/** @param own those of this control plane, of which `blobs` are all. */
export function createBlobHandlers({
  blobs,
  own,
}: {
  readonly blobs: BlobStore;
  readonly own: BlobStore;
}): NounHandlers<ApiTable['blobs']> {
  const status = async (digest: string): Promise<{ complete: boolean; offset: number; sizeBytes: number | null }> => {
    const info = await blobs.stat(digest);
    if (info !== undefined) return { complete: true, offset: info.sizeBytes, sizeBytes: info.sizeBytes };
    return { complete: false, offset: await blobs.uploadOffset(digest), sizeBytes: null };
  };
  return {
    stat: (call) => status(checked(call.params.digest)),
    upload: async (call) => {
      const digest = checked(call.params.digest);
      const known = await blobs.stat(digest);
      if (known !== undefined || call.stream === null) {
        // What is there already need not come again; the rest of the body is read and thrown away.
        call.stream?.resume();
        return await status(digest);
      }
      await blobs.upload(digest, { offset: call.query.offset, final: call.query.final, body: call.stream });
      return await status(digest);
    },
    download: async (call) => {
      const digest = checked(call.params.digest);
      const from = call.query.here ? own : blobs;
      const info = await from.stat(digest);
      if (info === undefined) throw new Failure('not_found', { message: `There is no blob ${digest}.` });
      const body = await from.read(digest, call.range === null ? undefined : { start: call.range.start, end: call.range.end });
      return { body, sizeBytes: info.sizeBytes };
    },
  };
}
