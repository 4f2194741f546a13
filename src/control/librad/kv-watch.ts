// What a watcher of keys is told: what there is, then every change once and in order. What there is, is read in pages, each as of a moment
// of its own; a change is told only where its page was read before it.

import { Failure, isFailure } from '../../lib/failure.ts';
import type { Change } from '../../store/store.ts';
import { environmentRecords } from '../deploys/records.ts';
import type { Sealer } from '../config/sealer.ts';
import type { ControlContext } from '../context.ts';
import type { StreamItem } from '../handler.ts';
import type { ChangeFeed } from './change-feed.ts';
import { keyOf } from './kv-store.ts';
import type { KvEntry, KvStore } from './kv-store.ts';
import { stillRuns } from './place.ts';
import type { Place } from './place.ts';
import { kvPrefixOf, kvRecords } from './records.ts';

export type KvChange =
  | (KvEntry & { readonly kind: 'put' })
  | { readonly kind: 'delete'; readonly key: string }
  | { readonly kind: 'synced' };

export interface KvWatchOptions {
  readonly kv: KvStore;
  readonly sealer: Sealer;
  readonly feed: ChangeFeed;
}

type Watch = (
  place: Place,
  of: { readonly prefix: string; readonly key?: string | undefined },
  lastEventId: string | null,
  signal: AbortSignal,
) => AsyncGenerator<StreamItem<KvChange>, void, undefined>;

/** Of one Environment at this control plane. */
const WATCHERS = 250;
/** A view that is behind what another control plane has told is waited for. */
const CATCH_UP_MS = 5_000;

/** A page of keys: up to and with `until` (null: to the end) they are as of this revision. */
interface Read {
  readonly until: string | null;
  readonly revision: number;
}

export function createKvWatch({ store, view }: ControlContext, { kv, sealer, feed }: KvWatchOptions): Watch {
  const watchers = new Map<string, number>();

  /** Tells one history of the store from another, such as that of a copy: an id of the one means nothing in the other. */
  const historyOf = async ({ environmentId }: Place): Promise<string> => {
    const entry = await store.get(`${environmentRecords.name}/${environmentId}`);
    if (entry === undefined) throw new Failure('not_found', { message: 'The Environment is gone.' });
    return `kv watch ${environmentId} ${entry.createRevision}`;
  };
  // Sealed, because it is a place in the store's history, on which nobody shall build.
  const idOf = (history: string, position: number): string => sealer.seal(Buffer.from(String(position)), history);
  const positionOf = async (history: string, id: string): Promise<number> => {
    const compacted = new Failure('compacted', {
      message: 'Last-Event-ID names no place of this history: it is too old, or the store is another one.',
      hint: 'Watch without it: what there is now is told first.',
    });
    let position: number;
    try {
      position = Number(sealer.open(id, history).toString('utf8'));
    } catch (error) {
      throw isFailure(error, 'storage_failed') ? compacted : error;
    }
    await view.waitFor(position, AbortSignal.timeout(CATCH_UP_MS)).catch(() => {
      throw compacted;
    });
    return position;
  };

  const told = (change: Change): KvChange => {
    if (change.kind === 'delete') return { kind: 'delete', key: keyOf(change.key.slice(kvRecords.name.length + 1)) };
    return { kind: 'put', ...kv.open(kv.decode(change.entry).document) };
  };

  async function* watch(
    place: Place,
    { prefix, key }: { readonly prefix: string; readonly key?: string | undefined },
    lastEventId: string | null,
    signal: AbortSignal,
  ): AsyncGenerator<StreamItem<KvChange>, void, undefined> {
    const history = await historyOf(place);
    const wanted = key ?? prefix;
    const isWanted = (item: KvChange): boolean => key === undefined || (item.kind !== 'synced' && item.key === key);
    const reads: Read[] = [];
    let position: number;
    let readTo = 0;
    if (lastEventId === null) {
      for (let after: string | undefined; ;) {
        const { entries, revision, more } = await kv.page(place.environmentId, wanted, after);
        for (const entry of entries) {
          const item: KvChange = { kind: 'put', ...kv.open(kv.decode(entry).document) };
          after = item.key;
          if (isWanted(item)) yield { id: null, data: item };
        }
        reads.push({ until: more ? (after ?? null) : null, revision });
        readTo = revision;
        if (!more) break;
      }
      position = reads[0]?.revision ?? 0;
      await view.waitFor(readTo, AbortSignal.any([signal, AbortSignal.timeout(CATCH_UP_MS)]));
    } else position = await positionOf(history, lastEventId);

    const isNew = (item: KvChange, revision: number): boolean => {
      if (revision > readTo || item.kind === 'synced') return true;
      const page = reads.find(({ until }) => until === null || item.key <= until);
      return page === undefined || revision > page.revision;
    };
    for await (const step of feed.follow({ prefix: kvPrefixOf(place.environmentId) + wanted, after: position, signal })) {
      if (!stillRuns(view, place)) return;
      const items = step.changes.map(told).filter((item) => isWanted(item) && isNew(item, step.position));
      // Whoever goes on from an id has had all of its commit, and all that was read before.
      const isPlace = step.position >= readTo;
      const id = isPlace ? idOf(history, step.position) : null;
      for (const [index, data] of items.entries()) yield { id: index === items.length - 1 ? id : null, data };
      if (step.changes.length === 0 && isPlace) yield { id, data: { kind: 'synced' } };
    }
  }

  return async function* (place, of, lastEventId, signal) {
    const count = watchers.get(place.environmentId) ?? 0;
    if (count >= WATCHERS) {
      throw new Failure('rate_limited', {
        message: `The Environment has ${WATCHERS} watches of librad.kv open already.`,
        hint: 'Let each Instance watch once, with a prefix, and share what it is told.',
      });
    }
    watchers.set(place.environmentId, count + 1);
    try {
      yield* watch(place, of, lastEventId, signal);
    } finally {
      const left = (watchers.get(place.environmentId) ?? 1) - 1;
      if (left === 0) watchers.delete(place.environmentId);
      else watchers.set(place.environmentId, left);
    }
  };
}
