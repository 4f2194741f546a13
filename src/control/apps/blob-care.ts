// Keeps the blobs of one control plane: those that the platform needs are here, those that it needs no more are not. Every control plane
// does it for its own, whichever leads.

import type { BlobStore } from '../../blob/blob.ts';
import { blobsOf, outputBlobs } from '../../model/built-image.ts';
import type { View } from '../../store/view.ts';
import { buildCacheRecords } from '../builds/records.ts';
import { instanceStatusRecords } from '../cluster/records.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import { controlPlaneRecords } from '../leadership/records.ts';
import { releaseRecords } from './records.ts';

const EVERY_MS = 60_000;
const COLLECT_EVERY_MS = 10 * 60_000;
const AGE_MS = 3_600_000;

/** Digests that the records name. */
function keptBlobs(view: View): ReadonlySet<string> {
  const keep = new Set<string>();
  for (const { document } of view.list(releaseRecords)) {
    if (document.bundle !== null) keep.add(document.bundle.digest);
    if (document.artifact !== null) for (const digest of blobsOf(document.artifact)) keep.add(digest);
  }
  for (const { document } of view.list(buildCacheRecords)) {
    for (const digest of blobsOf(document.artifact)) keep.add(digest);
  }
  // A result that was uploaded, but is not yet in its Release.
  for (const { document } of view.by(releaseRecords, 'state', 'building')) {
    const output = document.buildInstanceId === null ? null : view.get(instanceStatusRecords, document.buildInstanceId)?.document.output;
    if (output !== null && output !== undefined) for (const digest of outputBlobs(output)) keep.add(digest);
  }
  return keep;
}

/** @param blobs fetches what it lacks when it is asked for. */
export function createBlobCare({ view, clock, log }: ControlContext, { blobs }: { readonly blobs: BlobStore }): Reconciler {
  let collectedMs = Number.NEGATIVE_INFINITY;
  let here = new Set<string>();

  return {
    name: 'blobs',
    everyMs: EVERY_MS,
    wakeOn: [releaseRecords.name, buildCacheRecords.name, controlPlaneRecords.name],
    run: async (signal) => {
      const keep = keptBlobs(view);
      if (clock.monotonic() - collectedMs >= COLLECT_EVERY_MS) {
        collectedMs = clock.monotonic();
        const { deleted, freedBytes } = await blobs.collect({ keep, olderThanMs: AGE_MS });
        if (deleted > 0) log.info({ deleted, freedBytes }, 'unused blobs deleted');
        here = new Set();
      }
      for (const digest of keep) {
        if (signal.aborted) return;
        if (!here.has(digest) && (await blobs.stat(digest)) !== undefined) here.add(digest);
      }
    },
  };
}
