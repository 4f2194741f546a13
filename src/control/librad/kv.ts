// librad.kv: each write is one commit of the control plane that leads, which compares the key's record as it was read, the Environment,
// and the leader's fence; each read is one of the store. So what is acknowledged is there, and is seen by whoever asks next, anywhere.

import type { table } from '../../api/table.ts';
import { Failure, isFailure } from '../../lib/failure.ts';
import type { Operation, Stored } from '../../store/collection.ts';
import type { Sealer } from '../config/sealer.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import type { NounHandlers } from '../handler.ts';
import { createSerializer } from '../server-precondition.ts';
import { cursorOf, keyAfter } from '../server-page.ts';
import type { ChangeFeed } from './change-feed.ts';
import { createKvExpiry } from './kv-expiry.ts';
import { bytesOf, createKvStore, keyOf } from './kv-store.ts';
import type { KvEntry, KvStore } from './kv-store.ts';
import { createKvUsage } from './kv-usage.ts';
import type { KvLimits } from './kv-usage.ts';
import { createKvWatch } from './kv-watch.ts';
import { checkName, placeOf, refuseLeaving, whileItIsThere } from './place.ts';
import type { Place } from './place.ts';
import type { KvRecord } from './records.ts';

/** Values that one reply lists, in characters. */
const LIST_CHARACTERS = 1024 * 1024;
/** Somebody is told at most so often that an Environment is full. */
const FULL_EVERY_MS = 3_600_000;
const FULL_REMEMBERED = 10_000;

export interface KvOptions {
  readonly sealer: Sealer;
  readonly feed: ChangeFeed;
  readonly limits: KvLimits;
  readonly leads: boolean;
  /** The guard of a write that counts only while its caller holds a lock. Throws `precondition_failed`. */
  readonly whileHeld: (place: Place, lock: { readonly name: string; readonly fence: number }) => Operation;
}

export interface Kv {
  readonly handlers: NounHandlers<typeof table.kv>;
  readonly kv: KvStore;
  readonly expiry: Reconciler;
  /** Called when something ends earlier than the expiry reckons with; returns the unsubscriber. */
  readonly onEarlier: (listener: () => void) => () => void;
}

export function createKv(context: ControlContext, { sealer, feed, limits, leads, whileHeld }: KvOptions): Kv {
  const { view, clock } = context;
  const kv = createKvStore(context, sealer);
  const toldMs = new Map<string, number>();
  const usage = createKvUsage({
    kv,
    clock,
    limits,
    leads,
    onFull: (environmentId) => {
      if (clock.monotonic() - (toldMs.get(environmentId) ?? Number.NEGATIVE_INFINITY) < FULL_EVERY_MS) return;
      if (toldMs.size >= FULL_REMEMBERED) toldMs.clear();
      toldMs.set(environmentId, clock.monotonic());
      context.event({
        level: 'warning',
        kind: 'kv.full',
        message: `An Environment holds all that it may in librad.kv (${limits.keys} keys, ${limits.bytes} bytes); writes are refused.`,
        subject: { environmentId },
      });
    },
  });
  const expiry = createKvExpiry(context, { kv, usage });
  const watch = createKvWatch(context, { kv, sealer, feed });
  /** Writers of one key after each other, so that they do not lose races against each other. */
  const inTurn = createSerializer();

  const commit = async (...operations: readonly Operation[]): Promise<void> => {
    try {
      await view.commit(...operations);
    } catch (error) {
      if (!isFailure(error, 'exists')) throw error;
      // Made meanwhile, by a commit that was given up: read it, then decide.
      throw new Failure('conflict', { message: 'The key was changed meanwhile.', details: { collection: 'kv' }, cause: error });
    }
  };

  const compareVersion = (wanted: string | null | undefined, current: Stored<KvRecord> | undefined): void => {
    if (wanted === undefined || wanted === (current?.document.version ?? null)) return;
    const is = current === undefined ? 'there is no such key' : `it is ${current.document.version}`;
    throw new Failure('precondition_failed', {
      message:
        wanted === null ? 'ifVersion says that there is no such key yet, but there is one.' : `ifVersion names another version: ${is}.`,
      hint: 'Read the key again, and repeat the change on what it is now.',
      details: { version: current?.document.version ?? null },
    });
  };

  const summary = ({ id, version, expiresAtMs, updatedAtMs }: KvRecord) => ({ key: keyOf(id), version, expiresAtMs, updatedAtMs });

  const handlers: Kv['handlers'] = {
    list: async ({ principal, query }) => {
      const { environmentId } = placeOf(principal);
      const withValues = query.values === 'true';
      const items: (Omit<KvEntry, 'value'> & { readonly value: string | null })[] = [];
      let characters = 0;
      let after = query.cursor === undefined ? undefined : keyAfter('kv', query.cursor);
      for (;;) {
        const { entries, more } = await kv.page(environmentId, query.prefix, after);
        for (const [index, entry] of entries.entries()) {
          const opened = kv.open(kv.decode(entry).document);
          after = opened.key;
          characters += withValues ? opened.value.length : 0;
          items.push(withValues ? opened : { ...opened, value: null });
          const isFull = items.length >= query.limit || characters >= LIST_CHARACTERS;
          if (isFull) return { items, next: more || index + 1 < entries.length ? cursorOf('kv', after) : null };
        }
        if (!more) return { items, next: null };
      }
    },
    get: async ({ principal, params }) => {
      const current = await kv.read(placeOf(principal).environmentId, checkName(params.key));
      if (current === undefined) throw new Failure('not_found', { message: 'There is no such key.' });
      return kv.open(current.document);
    },
    put: async ({ principal, params, body }) => {
      const place = placeOf(principal);
      const { environmentId } = place;
      checkName(params.key);
      const plain = bytesOf(body.value, body.encoding, limits.valueBytes);
      return await inTurn(`${environmentId}/${params.key}`, async () => {
        refuseLeaving(view, place);
        const current = await kv.read(environmentId, params.key);
        compareVersion(body.ifVersion, current);
        const held = body.lock === undefined ? [] : [whileHeld(place, body.lock)];
        const next = kv.made(environmentId, params.key, { plain, encoding: body.encoding, ttlMs: body.ttlMs });
        const by = { keys: current === undefined ? 1 : 0, bytes: next.bytes - (current?.document.bytes ?? 0) };
        await usage.change(environmentId, by, () => commit(...kv.putting(current, next), ...held, whileItIsThere(place)));
        if (next.expiresAtMs !== null) expiry.reckonWith(next.expiresAtMs);
        return summary(next);
      });
    },
    delete: async ({ principal, params, query }) => {
      const place = placeOf(principal);
      const { environmentId } = place;
      checkName(params.key);
      const { lock, fence } = query;
      if ((lock === undefined) !== (fence === undefined))
        throw new Failure('invalid_input', { message: 'query.lock and query.fence belong together: which lock, held under which fence.' });
      return await inTurn(`${environmentId}/${params.key}`, async () => {
        const current = await kv.read(environmentId, params.key);
        compareVersion(query.ifVersion, current);
        const held = lock === undefined || fence === undefined ? [] : [whileHeld(place, { name: lock, fence })];
        if (current === undefined) return { deleted: false };
        await usage.change(environmentId, { keys: -1, bytes: -current.document.bytes }, () => commit(...kv.removing(current), ...held));
        return { deleted: true };
      });
    },
    watch: ({ principal, query, lastEventId, signal }) => watch(placeOf(principal), query, lastEventId, signal),
    usage: async ({ principal }) => {
      const { keys, bytes } = await usage.of(placeOf(principal).environmentId);
      return { keys, maxKeys: limits.keys, bytes, maxBytes: limits.bytes, maxValueBytes: limits.valueBytes };
    },
  };

  return { handlers, kv, expiry, onEarlier: expiry.onEarlier };
}
