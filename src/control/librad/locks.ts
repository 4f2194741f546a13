// librad.locks: leases with fences. A lock is a record that is there while somebody holds it; the control plane that leads makes and
// ends it, in commits behind its fence, and counts the time by its own monotonic clock from when it heard of the holder, or from when it
// began to lead: so nobody's wall clock matters, and a lock never ends before its holder thinks that it may have (docs/decisions/0026).

import type { table } from '../../api/table.ts';
import { Failure, isFailure } from '../../lib/failure.ts';
import type { Operation, Stored } from '../../store/collection.ts';
import { create, decodeRecord, guard, remove, update } from '../../store/records.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import type { NounHandlers } from '../handler.ts';
import { moving } from '../leadership/forward.ts';
import { createSerializer } from '../server-precondition.ts';
import { cursorOf, keyAfter } from '../server-page.ts';
import { followLevel } from './level.ts';
import { createLockQueues } from './lock-queues.ts';
import { checkName, placeOf, refuseLeaving, whileItIsThere } from './place.ts';
import type { Place } from './place.ts';
import { lockCounterRecords, lockRecords } from './records.ts';
import type { LockCounter, LockRecord } from './records.ts';

/** Held at once in one Environment. */
const LOCKS = 1_000;
const EVERY_MS = 30_000;

export interface Locks {
  readonly handlers: NounHandlers<typeof table.locks>;
  /** Ends those whose holder has let their time pass. */
  readonly expiry: Reconciler;
  /** Called when one ends earlier than the expiry reckons with; returns the unsubscriber. */
  readonly onEarlier: (listener: () => void) => () => void;
  /** The guard of a write that counts only while its caller holds a lock. Throws `precondition_failed`. */
  readonly whileHeld: (place: Place, lock: { readonly name: string; readonly fence: number }) => Operation;
  /** Whoever waits is told to ask the one that leads now. */
  readonly stop: () => void;
}

export function createLocks(context: ControlContext): Locks {
  const { store, view, clock } = context;
  const queues = createLockQueues(clock);
  const inTurn = createSerializer();
  const listeners = new Set<() => void>();
  /** Monotonic, of the locks that this control plane has heard of in its term. */
  const deadlines = new Map<string, number>();
  let nextMs = Number.POSITIVE_INFINITY;

  const begin = (id: string, ttlMs: number): void => {
    const deadline = clock.monotonic() + ttlMs;
    deadlines.set(id, deadline);
    if (deadline >= nextMs) return;
    nextMs = deadline;
    for (const listener of listeners) listener();
  };

  const idOf = ({ environmentId }: Place, name: string): string => `${environmentId}/${checkName(name)}`;
  const held = ({ name, fence, ttlMs, value }: LockRecord) => ({ name, fence, ttlMs, value });
  const shown = (name: string, lock: LockRecord | null) => ({
    name,
    holder:
      lock === null
        ? null
        : { instance: lock.instanceId, entrypoint: lock.entrypoint, fence: lock.fence, value: lock.value, sinceMs: lock.sinceMs },
  });

  const change = async (current: Stored<LockRecord>, next: Partial<LockRecord>): Promise<LockRecord> => {
    const document = { ...current.document, ...next, renewals: current.document.renewals + 1 };
    // Before and not after: the expiry must not meet a lock that was renewed a moment ago with its old time.
    begin(document.id, document.ttlMs);
    await view.commit(update(lockRecords, current, document));
    return document;
  };

  /** null: somebody else holds it. */
  const take = async (place: Place, name: string, wanted: Pick<LockRecord, 'lease' | 'ttlMs' | 'value'>): Promise<LockRecord | null> =>
    await inTurn(place.environmentId, async () => {
      refuseLeaving(view, place);
      const id = idOf(place, name);
      const current = view.get(lockRecords, id);
      if (current !== undefined) return current.document.lease === wanted.lease ? await change(current, wanted) : null;
      const held = view.by(lockRecords, 'environment', place.environmentId).length;
      if (held >= LOCKS) {
        throw new Failure('rate_limited', {
          message: `${held} locks of this Environment are held already; ${LOCKS} may be.`,
          hint: 'Release what is done, or let several things share a lock.',
        });
      }
      const counter = view.get(lockCounterRecords, place.environmentId);
      const fence = (counter?.document.last ?? 0) + 1;
      const lock: LockRecord = {
        ...wanted,
        id,
        environmentId: place.environmentId,
        name,
        fence,
        instanceId: place.instanceId,
        entrypoint: place.entrypoint,
        sinceMs: clock.now(),
        renewals: 0,
      };
      const counted: LockCounter = { id: place.environmentId, last: fence };
      begin(id, lock.ttlMs);
      try {
        await view.commit(
          create(lockRecords, lock),
          counter === undefined ? create(lockCounterRecords, counted) : update(lockCounterRecords, counter, counted),
          whileItIsThere(place),
        );
      } catch (error) {
        if (!isFailure(error, 'exists')) throw error;
        throw new Failure('conflict', { message: 'The lock was taken at the same moment.', details: { collection: lockRecords.name } });
      }
      return lock;
    });

  const drop = async (stored: Stored<LockRecord>): Promise<void> => {
    await view.commit(remove(lockRecords, stored));
    deadlines.delete(stored.document.id);
    queues.wake(stored.document.id);
  };

  /** False: a renewal came in between, and has won. */
  const dropUnlessRenewed = async (stored: Stored<LockRecord>): Promise<boolean> => {
    try {
      await drop(stored);
      return true;
    } catch (error) {
      if (isFailure(error, 'conflict')) return false;
      throw error;
    }
  };

  const notHeld = (name: string): Failure =>
    new Failure('precondition_failed', {
      message: `The lock ${name} is not held under this lease or fence any more.`,
      hint: 'Stop what is done under it; whoever holds it now may have begun. Acquire it anew under a new lease.',
      details: { lock: name },
    });

  const read = async (id: string): Promise<LockRecord | null> => {
    const entry = await store.get(`${lockRecords.name}/${id}`);
    // What a record of this collection decodes to.
    return entry === undefined ? null : (decodeRecord(lockRecords, entry) as LockRecord);
  };

  const handlers: Locks['handlers'] = {
    list: async ({ principal, query }) => {
      const start = `${lockRecords.name}/${placeOf(principal).environmentId}/`;
      const after = query.cursor === undefined ? {} : { after: start + keyAfter('locks', query.cursor) };
      const { entries, more } = await store.list({ prefix: start + query.prefix, limit: query.limit, ...after });
      const items = entries.map((entry) => decodeRecord(lockRecords, entry) as LockRecord).map((lock) => shown(lock.name, lock));
      const last = items.at(-1);
      return { items, next: more && last !== undefined ? cursorOf('locks', last.name) : null };
    },
    get: async ({ principal, params }) => shown(params.lock, await read(idOf(placeOf(principal), params.lock))),
    acquire: async ({ principal, params, body, signal }) => {
      const place = placeOf(principal);
      const { waitMs, ...wanted } = body;
      const id = idOf(place, params.lock);
      const cameMs = clock.monotonic();
      let waitedMs = 0;
      const holds = (): boolean => view.get(lockRecords, id)?.document.lease === wanted.lease;
      // Whoever repeats the call need not queue behind those who wait for it.
      const first = holds() ? await take(place, params.lock, wanted) : null;
      const attempt = (): Promise<LockRecord | null> => {
        waitedMs = Math.floor(clock.monotonic() - cameMs);
        return take(place, params.lock, wanted);
      };
      const lock = first ?? (await queues.wait({ id, place, waitMs, signal }, attempt));
      if (lock === null) {
        const holder = view.get(lockRecords, id)?.document;
        throw new Failure('conflict', {
          message: `The lock ${params.lock} is held${holder === undefined ? '' : ` by the Instance ${holder.instanceId}`}.`,
          hint: 'Ask again, or wait in turn with waitMs.',
          details: { lock: params.lock, fence: holder?.fence ?? null },
        });
      }
      const current = view.get(lockRecords, id);
      // Nobody would ever renew it.
      const isUnknown = current?.document.fence === lock.fence && current.document.renewals === lock.renewals;
      if (signal.aborted && isUnknown) await drop(current).catch(() => undefined);
      return { ...held(lock), waitedMs };
    },
    renew: async ({ principal, params, body }) => {
      const place = placeOf(principal);
      return await inTurn(idOf(place, params.lock), async () => {
        const current = view.get(lockRecords, idOf(place, params.lock));
        if (current === undefined || current.document.lease !== body.lease) throw notHeld(params.lock);
        const { ttlMs = current.document.ttlMs, value = current.document.value } = body;
        return held(await change(current, { ttlMs, value }));
      });
    },
    release: async ({ principal, params, body }) => {
      const place = placeOf(principal);
      return await inTurn(idOf(place, params.lock), async () => {
        const current = view.get(lockRecords, idOf(place, params.lock));
        if (current === undefined || current.document.lease !== body.lease) return { released: false };
        await drop(current);
        return { released: true };
      });
    },
    watch: ({ principal, params, lastEventId, signal }) => {
      const place = placeOf(principal);
      const id = idOf(place, params.lock);
      return followLevel(context, {
        place,
        lastEventId,
        signal,
        isTouched: (changed) => changed.get(lockRecords.name)?.has(id) ?? false,
        read: () => shown(params.lock, view.get(lockRecords, id)?.document ?? null),
      });
    },
  };

  const expiry: Reconciler = {
    name: 'lock-expiry',
    everyMs: EVERY_MS,
    wakeOn: [],
    run: async (signal) => {
      nextMs = Number.POSITIVE_INFINITY;
      const locks = view.list(lockRecords);
      for (const { document } of locks) if (!deadlines.has(document.id)) begin(document.id, document.ttlMs);
      const ids = new Set(locks.map(({ document }) => document.id));
      for (const [id, deadline] of deadlines) if (!ids.has(id) && deadline <= clock.monotonic()) deadlines.delete(id);
      for (const stored of locks) {
        signal.throwIfAborted();
        const deadline = deadlines.get(stored.document.id) ?? Number.POSITIVE_INFINITY;
        if (deadline > clock.monotonic()) nextMs = Math.min(nextMs, deadline);
        else if (!(await dropUnlessRenewed(stored))) nextMs = clock.monotonic();
      }
      return nextMs === Number.POSITIVE_INFINITY ? undefined : Math.max(0, nextMs - clock.monotonic());
    },
  };

  return {
    handlers,
    expiry,
    onEarlier: (listener) => {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
    whileHeld: (place, { name, fence }) => {
      const current = view.get(lockRecords, idOf(place, name));
      if (current?.document.fence !== fence) throw notHeld(name);
      return guard(lockRecords, current);
    },
    stop: () => queues.stop(moving('This control plane leads no longer; whoever waited for a lock asks again.')),
  };
}
